//! The client's certificate as a gateway forwards it. The gateway has verified it and removed what the client itself wrote;
//! who reaches the receiver without the gateway could write anything.

use aws_lc_rs::digest::{self, SHA256};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderName;
use sluice_crds::{CertificateFormat, Network, wire::CertificateName};

use super::{Refusal, Signed, header};

/// Which certificates are accepted, and where they stand.
#[derive(Debug)]
pub struct Certificates {
    pub(super) format: CertificateFormat,
    pub(super) header: HeaderName,
    pub(super) allowed: Vec<CertificateName>,
    /// Where the gateway's proxies are; none: anywhere.
    pub(super) proxies: Vec<Network>,
}

impl Certificates {
    pub(super) fn verify(&self, request: Signed<'_>) -> Result<(), Refusal> {
        let peer = request.peer.to_canonical();
        if !self.proxies.is_empty() && !self.proxies.iter().any(|proxies| proxies.holds(peer)) {
            return Err(Refusal::ProxyUnknown);
        }
        let value = header::single(request.headers, self.header.as_str())?;
        let value = std::str::from_utf8(value).map_err(|_| Refusal::CredentialMalformed)?;
        let names = match self.format {
            CertificateFormat::Envoy => envoy(value),
            CertificateFormat::Rfc9440 => rfc9440(value),
            CertificateFormat::Text => Some(vec![CertificateName::Subject(value.to_owned())]),
        };
        let names = names.ok_or(Refusal::CredentialMalformed)?;
        if names.iter().any(|name| self.allowed.contains(name)) { Ok(()) } else { Err(Refusal::CredentialWrong) }
    }
}

/// The names in an element of `X-Forwarded-Client-Cert`; `None` where it is malformed or there are several elements: only the
/// last of them would be the gateway's, and which proxies stand before it is not known here.
fn envoy(value: &str) -> Option<Vec<CertificateName>> {
    let [element] = split(value, ',')?.try_into().ok()?;
    let mut names = Vec::new();
    for pair in split(element, ';')? {
        let (key, value) = pair.split_once('=')?;
        let value = unquote(value)?;
        match key.trim().to_ascii_lowercase().as_str() {
            _ if value.is_empty() => {}
            "hash" => names.push(CertificateName::Sha256(value.to_ascii_lowercase())),
            "subject" => names.push(CertificateName::Subject(value)),
            "uri" => names.push(CertificateName::Uri(value)),
            "dns" => names.push(CertificateName::Dns(value)),
            _ => {}
        }
    }
    Some(names)
}

/// Splits where the separator stands outside quotes; `None` where a quote is not closed.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut quoted, mut escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(&text[begin..at]);
                begin = at + separator.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!quoted).then_some(parts)
}

/// A value without the quotes around it; `None` where there are others.
fn unquote(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else { return (!value.contains('"')).then(|| value.to_owned()) };
    let inner = inner.strip_suffix('"')?;
    let mut characters = inner.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next()?),
            '"' => return None,
            _ => text.push(character),
        }
    }
    Some(text)
}

/// The certificate between colons, as structured fields write bytes (RFC 9440, RFC 9651).
fn rfc9440(value: &str) -> Option<Vec<CertificateName>> {
    let encoded = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    let certificate = STANDARD.decode(encoded).ok()?;
    Some(vec![CertificateName::Sha256(hex::encode(digest::digest(&SHA256, &certificate)))])
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn an_element_of_envoys_header_gives_its_names() {
        let value = r#"By=spiffe://us;Hash=AB12;Subject="CN=partner,O=\"A; B\"";URI=spiffe://partner/one;DNS=a.example;DNS=b.example"#;
        let expected = [
            CertificateName::Sha256("ab12".into()),
            CertificateName::Subject(r#"CN=partner,O="A; B""#.into()),
            CertificateName::Uri("spiffe://partner/one".into()),
            CertificateName::Dns("a.example".into()),
            CertificateName::Dns("b.example".into()),
        ];
        assert_eq!(envoy(value).unwrap(), expected);
        assert_eq!(envoy(r#"Hash=;Subject="";URI="#).unwrap(), []);
    }

    fn quoted(text: &str) -> String {
        format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
    }

    proptest! {
        #![proptest_config(crate::cases::cases())]

        #[test]
        fn names_are_read_as_they_were_written(texts in vec((0..3_usize, "[ -~\u{e9}]{1,20}"), 0..5)) {
            let names: Vec<_> = texts.iter().map(|(kind, text)| {
                let name = [CertificateName::Subject, CertificateName::Uri, CertificateName::Dns][*kind];
                (["Subject", "URI", "DNS"][*kind], name(text.clone()), text)
            }).collect();
            let element: Vec<_> = names.iter().map(|(key, _, text)| format!("{key}={}", quoted(text))).collect();
            let expected: Vec<_> = names.into_iter().map(|(_, name, _)| name).collect();
            let element = format!("By=us;{}", element.join(";"));
            prop_assert_eq!(envoy(element.trim_end_matches(';')), Some(expected.clone()));
            // A second element might be anybody's.
            prop_assert_eq!(envoy(&format!("{element},{element}")), None);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\u{e9}]{0,60}|([=;,\"\\\\]|URI|Hash|a){0,20}") {
            for name in envoy(&text).into_iter().flatten() {
                let (CertificateName::Sha256(value) | CertificateName::Subject(value) | CertificateName::Uri(value) | CertificateName::Dns(value)) = name;
                prop_assert!(!value.is_empty());
            }
            prop_assert!(rfc9440(&text).is_none_or(|_| text.trim().starts_with(':')));
        }
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not_read() {
        for value in [
            "URI=spiffe://partner/one,URI=spiffe://partner/two",
            r#"Subject="CN=partner"#,
            r#"Subject=CN="partner""#,
            r#"Subject="a"b""#,
            "spiffe://partner/one",
            "",
        ] {
            assert_eq!(envoy(value), None, "{value}");
        }
    }

    #[test]
    fn a_whole_certificate_is_known_by_its_hash() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(rfc9440(":YWJj:"), Some(vec![CertificateName::Sha256(expected.into())]));
        for value in ["YWJj", ":YWJj", ":YWJ:", "::,::"] {
            assert_eq!(rfc9440(value), None, "{value}");
        }
    }
}
