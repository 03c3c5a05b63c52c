//! A header of a signature: it stands there once, or the request is refused.

use http::HeaderMap;

use super::Refusal;

/// The value of a header that must be there exactly once: of two, another hop might read the other one.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a [u8], Refusal> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value.as_bytes()),
        (Some(_), Some(_)) => Err(Refusal::HeaderRepeated),
        (None, _) => Err(Refusal::HeaderMissing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_counts_only_when_it_stands_there_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, "x-signature"), Err(Refusal::HeaderMissing));
        headers.append("x-signature", "one".parse().unwrap());
        assert_eq!(single(&headers, "X-Signature"), Ok(&b"one"[..]));
        headers.append("X-Signature", "one".parse().unwrap());
        assert_eq!(single(&headers, "x-signature"), Err(Refusal::HeaderRepeated));
    }
}
