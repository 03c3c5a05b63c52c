//! Judges how a Webhook's senders prove who they are.

use std::path::PathBuf;

use sluice_crds::{
    CertificateFormat, CertificateIdentity, ClientCertificate, Hmac, InvalidNetwork, Jwt, Network, Preset, PresetName,
    SecretReference, WebhookSpec,
    wire::{CertificateName, Verification},
};

use crate::{Rejection, secrets::file};

/// The scheme that the spec asks for; `path` is the endpoint's.
pub(super) fn verification(spec: &WebhookSpec, path: &str) -> Result<Verification, Rejection> {
    let verify = &spec.verify;
    let schemes = [
        verify.preset.as_ref().map(|preset| self::preset(spec, preset, path)),
        verify.hmac.as_ref().map(|hmac| Ok(self::hmac(hmac))),
        verify.bearer.as_ref().map(|bearer| Ok(Verification::Bearer { secrets: files(&bearer.secret_refs) })),
        verify.basic.as_ref().map(|basic| {
            Ok(Verification::Basic { username: basic.username.clone(), secrets: files(&basic.secret_refs) })
        }),
        verify
            .api_key
            .as_ref()
            .map(|key| Ok(Verification::ApiKey { header: key.header.clone(), secrets: files(&key.secret_refs) })),
        verify.jwt.as_ref().map(|jwt| Ok(self::jwt(jwt))),
        verify.client_certificate.as_ref().map(client_certificate),
        verify.none.map(|_| Ok(Verification::None)),
    ];
    let mut given = schemes.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(scheme), None) => scheme,
        _ => Err(Rejection::invalid(
            "spec.verify",
            "write exactly one of preset, hmac, bearer, basic, apiKey, jwt, clientCertificate, none",
        )),
    }
}

/// The files in which the receiver finds the secrets.
fn files(references: &[SecretReference]) -> Vec<PathBuf> {
    references.iter().map(file).collect()
}

fn preset(spec: &WebhookSpec, preset: &Preset, path: &str) -> Result<Verification, Rejection> {
    let urls = match preset.name {
        PresetName::Twilio => signed_urls(spec, preset, path)?,
        _ => Vec::new(),
    };
    Ok(Verification::Preset { name: preset.name, secrets: files(&preset.secret_refs), urls })
}

/// The addresses that Twilio may know the endpoint by.
fn signed_urls(spec: &WebhookSpec, preset: &Preset, path: &str) -> Result<Vec<String>, Rejection> {
    if let Some(url) = &preset.url {
        return Ok(vec![url.clone()]);
    }
    let hosts = spec.route.hostnames.iter().filter(|name| !name.starts_with("*."));
    let urls: Vec<_> = hosts.map(|host| format!("https://{host}{path}")).collect();
    if urls.is_empty() {
        let message = "Twilio signs the endpoint's address, which no host name of the route tells; write it here";
        return Err(Rejection::invalid("spec.verify.preset.url", message));
    }
    Ok(urls)
}

fn hmac(hmac: &Hmac) -> Verification {
    Verification::Hmac {
        header: hmac.header.clone(),
        algorithm: hmac.algorithm,
        encoding: hmac.encoding,
        prefix: hmac.prefix.clone(),
        separator: hmac.separator.clone(),
        signed_content: hmac.signed_content.clone(),
        timestamp_header: hmac.timestamp_header.clone(),
        secrets: files(&hmac.secret_refs),
    }
}

fn jwt(jwt: &Jwt) -> Verification {
    Verification::Jwt {
        issuer: jwt.issuer.clone(),
        audience: jwt.audience.clone(),
        subjects: jwt.subjects.clone(),
        jwks_uri: jwt.jwks_uri.clone(),
    }
}

/// The header that carries the identity.
pub(super) fn certificate_header(certificate: &ClientCertificate) -> &str {
    certificate.header.as_deref().unwrap_or(match certificate.format {
        CertificateFormat::Envoy => "X-Forwarded-Client-Cert",
        CertificateFormat::Rfc9440 => "Client-Cert",
        CertificateFormat::Text => "Ssl-Client-Subject-Dn",
    })
}

fn client_certificate(certificate: &ClientCertificate) -> Result<Verification, Rejection> {
    Ok(Verification::ClientCertificate {
        format: certificate.format,
        header: certificate_header(certificate).to_owned(),
        allowed: certificate.allowed.iter().map(certificate_name).collect::<Result<_, _>>()?,
        proxies: certificate.proxies.iter().map(|text| proxy(text)).collect::<Result<_, _>>()?,
    })
}

fn proxy(text: &str) -> Result<Network, Rejection> {
    let wrong = |error: InvalidNetwork| Rejection::invalid("spec.verify.clientCertificate.proxies", error.to_string());
    text.parse().map_err(wrong)
}

fn certificate_name(identity: &CertificateIdentity) -> Result<CertificateName, Rejection> {
    match (&identity.uri, &identity.dns, &identity.subject, &identity.sha256) {
        (Some(uri), None, None, None) => Ok(CertificateName::Uri(uri.clone())),
        (None, Some(dns), None, None) => Ok(CertificateName::Dns(dns.clone())),
        (None, None, Some(subject), None) => Ok(CertificateName::Subject(subject.clone())),
        (None, None, None, Some(sha256)) => Ok(CertificateName::Sha256(sha256.clone())),
        _ => Err(Rejection::invalid(
            "spec.verify.clientCertificate.allowed",
            "write exactly one of uri, dns, subject, sha256",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_that_is_no_network_is_named() {
        let verification = |proxies: &str| {
            let yaml = format!("{{allowed: [{{uri: a}}], proxies: [{proxies}]}}");
            client_certificate(&serde_saphyr::from_str(&yaml).unwrap())
        };
        let Verification::ClientCertificate { proxies, .. } = verification("10.0.3.0/24, '2001:db8::1'").unwrap()
        else {
            panic!()
        };
        assert_eq!(proxies, ["10.0.3.0/24", "2001:db8::1"].map(|text| text.parse::<Network>().unwrap()));
        let refused = verification("10.0.3.0/33").unwrap_err().to_string();
        assert!(
            refused.contains("spec.verify.clientCertificate.proxies") && refused.contains("10.0.3.0/33"),
            "{refused}"
        );
    }
}
