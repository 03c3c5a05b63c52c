//! What a request's head says, before its body is read. Pure.

use http::{HeaderMap, Method, header, request::Parts};
use sluice_crds::wire::{DeferredBecause, ReceiverControls};

use super::answer::Refused;
use crate::{config::Endpoint, server::HEADERS};

/// Refuses what need not be read any further.
pub(super) fn check(endpoint: &Endpoint, controls: ReceiverControls, head: &Parts) -> Result<(), Refused> {
    if head.uri.path() != endpoint.path {
        return Err(Refused::Path);
    }
    if head.method != Method::POST {
        return Err(Refused::Method);
    }
    if controls.paused {
        return Err(Refused::Deferred(DeferredBecause::Paused));
    }
    if head.headers.len() > HEADERS {
        return Err(Refused::Headers);
    }
    if is_compressed(&head.headers) {
        return Err(Refused::Encoding);
    }
    Ok(())
}

/// A small compressed body can be a large one, and signatures are over one of the two: which one is the sender's secret.
fn is_compressed(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use http::Request;
    use proptest::prelude::*;

    use super::*;
    use crate::config::tests::endpoint;

    const SERVING: ReceiverControls = ReceiverControls { paused: false, replicas: 1 };

    #[test]
    fn a_head_is_refused_for_the_first_thing_that_is_wrong_with_it() {
        let post = || Request::post("/shop/github?a=b");
        let crowd = (0..=HEADERS).fold(post(), |request, number| request.header(format!("x-{number}"), "1"));
        let cases = [
            (post(), None),
            (post().header("content-encoding", "Identity"), None),
            (Request::post("/shop/github/"), Some("Path")),
            (Request::post("/shop/git%68ub"), Some("Path")),
            (Request::post("/Shop/github"), Some("Path")),
            (Request::get("/shop/github"), Some("Method")),
            (crowd, Some("Headers")),
            (post().header("content-encoding", "gzip"), Some("Encoding")),
            (post().header("content-encoding", "identity, br"), Some("Encoding")),
        ];
        for (request, expected) in cases {
            let (head, ()) = request.body(()).unwrap().into_parts();
            let refused = check(&endpoint(), SERVING, &head).err().map(|refused| format!("{refused:?}"));
            assert_eq!(refused.as_deref(), expected, "{head:?}");
        }
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn only_its_own_path_is_the_endpoint(path in "/[-a-z%/.0-9]{0,16}|/shop/github[/?.%]{0,2}", encoding in "[ -~]{0,12}|[iI]dentity") {
            let Ok(request) = Request::post(&path).header("content-encoding", &encoding).body(()) else { return Ok(()) };
            let (head, ()) = request.into_parts();
            let is_let_in = check(&endpoint(), SERVING, &head).is_ok();
            let own = path.split('?').next() == Some("/shop/github");
            prop_assert_eq!(is_let_in, own && encoding.eq_ignore_ascii_case("identity"), "{} {}", path, encoding);
        }
    }

    #[test]
    fn a_paused_endpoint_defers_whatever_else_is_wrong() {
        let paused = ReceiverControls { paused: true, replicas: 1 };
        let request = Request::post("/shop/github").header("content-encoding", "gzip").body(()).unwrap();
        let refused = check(&endpoint(), paused, &request.into_parts().0).unwrap_err();
        assert!(matches!(refused, Refused::Deferred(DeferredBecause::Paused)));
    }
}
