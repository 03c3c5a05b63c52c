//! Which of many endpoints a request is for: by its path, and where several have it, by host name and header. Pure.

use std::{collections::HashMap, sync::Arc};

use http::{Request, header};
use sluice_crds::wire::SharedWebhook;

/// The endpoints by their addresses.
#[derive(Debug)]
pub(super) struct Directory<T> {
    by_path: HashMap<String, Vec<Place<T>>>,
}

/// An endpoint, and by what it is told from others with the same path.
#[derive(Debug)]
struct Place<T> {
    webhook: Arc<SharedWebhook>,
    endpoint: T,
}

/// How exactly a host name is meant: any, by a wildcard of that length, or itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    Any,
    Wildcard(usize),
    Exact,
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self { by_path: HashMap::new() }
    }
}

impl<T> Directory<T> {
    /// Of these endpoints.
    pub(super) fn of(all: impl Iterator<Item = (Arc<SharedWebhook>, T)>) -> Self {
        let mut by_path: HashMap<String, Vec<Place<T>>> = HashMap::new();
        for (webhook, endpoint) in all {
            by_path.entry(webhook.config.path.clone()).or_default().push(Place { webhook, endpoint });
        }
        Self { by_path }
    }

    /// The endpoint that a request is for. An endpoint that has its path alone gets all of its requests, whatever host name a gateway made
    /// of theirs; of several the most exact one, as gateways judge.
    pub(super) fn find<B>(&self, request: &Request<B>) -> Option<&T> {
        let places = self.by_path.get(request.uri().path())?;
        if let [only] = places.as_slice() {
            return Some(&only.endpoint);
        }
        let host = host(request);
        let meant = places.iter().filter_map(|place| Some((place.exactness(host, request)?, place)));
        meant.max_by_key(|(exactness, _)| *exactness).map(|(_, place)| &place.endpoint)
    }
}

impl<T> Place<T> {
    /// How exactly a request is meant for it, if it is: by host name, then by header.
    fn exactness<B>(&self, host: Option<&str>, request: &Request<B>) -> Option<(Exactness, bool)> {
        let SharedWebhook { hostnames, header, .. } = self.webhook.as_ref();
        let by_host = if hostnames.is_empty() {
            Exactness::Any
        } else {
            let host = host?;
            hostnames.iter().filter_map(|name| of_name(name, host)).max()?
        };
        match header {
            None => Some((by_host, false)),
            Some((name, value)) => {
                let is_meant = request.headers().get(name).is_some_and(|found| found.as_bytes() == value.as_bytes());
                is_meant.then_some((by_host, true))
            }
        }
    }
}

fn of_name(name: &str, host: &str) -> Option<Exactness> {
    match name.strip_prefix('*') {
        None => host.eq_ignore_ascii_case(name).then_some(Exactness::Exact),
        Some(end) => {
            let begin = host.len().checked_sub(end.len()).filter(|begin| *begin > 0)?;
            let is_meant = host.get(begin..).is_some_and(|found| found.eq_ignore_ascii_case(end));
            is_meant.then_some(Exactness::Wildcard(end.len()))
        }
    }
}

/// The host name of a request, without a port.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let of_header = || request.headers().get(header::HOST)?.to_str().ok()?.split(':').next();
    request.uri().host().or_else(of_header)
}

#[cfg(test)]
mod tests {
    use std::iter::once;

    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::config::tests::GOOD;

    fn webhook(path: &str, hostnames: &[&str], header: Option<(&str, &str)>) -> Arc<SharedWebhook> {
        let mut config: sluice_crds::wire::ReceiverConfig = serde_json::from_str(GOOD).unwrap();
        config.path = path.to_owned();
        Arc::new(SharedWebhook {
            revision: "a".into(),
            generation: 1,
            paused: false,
            hostnames: hostnames.iter().map(|&name| name.to_owned()).collect(),
            header: header.map(|(name, value)| (name.to_owned(), value.to_owned())),
            config,
        })
    }

    fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap()
    }

    #[test]
    fn a_path_alone_tells_where_it_is_only_one_endpoints() {
        let directory =
            Directory::of([(webhook("/a", &["a.example"], None), "a"), (webhook("/b", &[], None), "b")].into_iter());
        let found = |path: &str| directory.find(&request(path, &[("host", "elsewhere")])).copied();
        assert_eq!((found("/a"), found("/a?x=/b"), found("/b"), found("/c")), (Some("a"), Some("a"), Some("b"), None));
    }

    #[test]
    fn of_endpoints_with_one_path_the_most_exact_one_is_meant() {
        let version = Some(("x-version", "v2"));
        let all = [
            (webhook("/a", &[], None), "any"),
            (webhook("/a", &["*.example"], None), "wildcard"),
            (webhook("/a", &["*.shop.example", "other.test"], None), "longer"),
            (webhook("/a", &["hooks.shop.example"], None), "exact"),
            (webhook("/a", &["hooks.shop.example"], version), "version"),
        ];
        let directory = Directory::of(all.into_iter());
        for (host, version, expected) in [
            ("nowhere.test", "v1", "any"),
            ("example", "v2", "any"),
            ("bank.example:8080", "v1", "wildcard"),
            ("hooks.bank.example", "v1", "wildcard"),
            ("old.shop.example", "v2", "longer"),
            ("OTHER.test", "v2", "longer"),
            ("Hooks.Shop.Example:443", "v1", "exact"),
            ("hooks.shop.example", "v2", "version"),
        ] {
            let request = request("/a", &[("host", host), ("x-version", version)]);
            assert_eq!(directory.find(&request).copied(), Some(expected), "{host} {version}");
        }
        let of_http2 = request("http://hooks.shop.example:8080/a", &[]);
        assert_eq!(directory.find(&of_http2).copied(), Some("exact"));
        assert_eq!(directory.find(&request("/a", &[])).copied(), Some("any"));
    }

    #[test]
    fn what_is_meant_for_none_finds_none() {
        let all = [(webhook("/a", &["a.test"], None), "a"), (webhook("/a", &["b.test"], None), "b")];
        assert_eq!(Directory::of(all.into_iter()).find(&request("/a", &[("host", "c.test")])), None);
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn a_host_name_is_meant_before_each_wildcard_and_a_longer_wildcard_before_a_shorter_one(
            labels in vec("[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?", 2..6),
            best in 0..6_usize,
            turn in 0..8_usize,
            is_loud in any::<bool>(),
            port in option::of(any::<u16>()),
        ) {
            let host = labels.join(".");
            let wildcards = (1..labels.len()).map(|from| format!("*.{}", labels[from..].join(".")));
            let names: Vec<String> = once(host.clone()).chain(wildcards).skip(best).collect();
            let mut all: Vec<_> = names.iter().map(|name| (webhook("/a", &[name.as_str()], None), name.as_str())).collect();
            all.push((webhook("/a", &[], None), "any"));
            all.push((webhook("/a", &["_.example"], None), "another"));
            let turn = turn % all.len();
            all.rotate_left(turn);

            let host = if is_loud { host.to_ascii_uppercase() } else { host };
            let host = port.map_or(host.clone(), |port| format!("{host}:{port}"));
            let directory = Directory::of(all.into_iter());
            let expected = names.first().map_or("any", String::as_str);
            prop_assert_eq!(directory.find(&request("/a", &[("host", host.as_str())])).copied(), Some(expected));
        }

        #[test]
        fn what_is_found_has_a_name_that_fits_whatever_is_asked_for(
            names in vec("[ -~\u{e9}]{0,8}|(\\*|\\.|a|\u{e9}){0,6}", 2..5),
            host in "[ -~]{0,8}|(\\.|:|a|A){0,6}",
        ) {
            let all: Vec<_> =
                names.iter().enumerate().map(|(number, name)| (webhook("/a", &[name.as_str()], None), number)).collect();
            let directory = Directory::of(all.into_iter());
            let request = request("/a", &[("host", host.as_str())]);
            let host = host.split(':').next().unwrap_or_default().to_ascii_lowercase();
            let fits = |name: &String| match name.to_ascii_lowercase().strip_prefix('*') {
                None => name.eq_ignore_ascii_case(&host),
                Some(end) => host.len() > end.len() && host.ends_with(end),
            };
            match directory.find(&request) {
                Some(number) => prop_assert!(fits(&names[*number])),
                None => prop_assert!(!names.iter().any(fits)),
            }
        }
    }
}
