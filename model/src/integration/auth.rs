//! Judges how a worker proves to an API who it is, and whom it trusts.

use sluice_crds::{
    ApiKeyAuth, HttpSink, OAuth2, Settings, SinkAuth, SinkTls,
    wire::{AuthConfig, KeyPlace, TlsConfig},
};

use super::sink::bad_name;
use crate::{Rejection, address, secrets::file};

const FIELD: &str = "spec.sink.http.auth";

/// The scheme that a sink asks for, or all that is wrong with it.
pub(super) fn auth(http: &HttpSink, settings: &Settings) -> Result<Option<AuthConfig>, Vec<Rejection>> {
    let Some(auth) = &http.auth else { return Ok(None) };
    let config = scheme(auth).map_err(|rejection| vec![rejection])?;
    let mut rejections = Vec::new();
    if let AuthConfig::OAuth2 { token_url, .. } = &config {
        rejections.extend(address::complaint(&format!("{FIELD}.oauth2.tokenUrl"), token_url, settings));
    }
    if let AuthConfig::ApiKey { place: KeyPlace::Header(name), .. } = &config {
        rejections.extend(bad_name(&format!("{FIELD}.apiKey.header"), name));
    }
    let header = match &config {
        AuthConfig::ApiKey { place: KeyPlace::Query(_), .. } => None,
        AuthConfig::ApiKey { place: KeyPlace::Header(name), .. } => Some(name.as_str()),
        AuthConfig::OAuth2 { .. } | AuthConfig::Bearer { .. } | AuthConfig::Basic { .. } => Some("Authorization"),
    };
    let twice = http.headers.keys().find(|name| header.is_some_and(|header| header.eq_ignore_ascii_case(name)));
    rejections.extend(twice.map(|name| {
        Rejection::invalid(format!("spec.sink.http.headers[{name}]"), "this header is set by auth; remove one of them")
    }));
    if rejections.is_empty() { Ok(Some(config)) } else { Err(rejections) }
}

fn scheme(auth: &SinkAuth) -> Result<AuthConfig, Rejection> {
    match (&auth.oauth2, &auth.bearer, &auth.basic, &auth.api_key) {
        (Some(oauth2), None, None, None) => Ok(self::oauth2(oauth2)),
        (None, Some(bearer), None, None) => Ok(AuthConfig::Bearer { token: file(&bearer.token_ref) }),
        (None, None, Some(basic), None) => {
            Ok(AuthConfig::Basic { username: file(&basic.username_ref), password: file(&basic.password_ref) })
        }
        (None, None, None, Some(key)) => api_key(key),
        _ => Err(Rejection::invalid(FIELD, "write exactly one of oauth2, bearer, basic, apiKey")),
    }
}

fn oauth2(oauth2: &OAuth2) -> AuthConfig {
    let scopes = Some(oauth2.scopes.join(" ")).filter(|scopes| !scopes.is_empty());
    let parameters = [("scope", scopes), ("audience", oauth2.audience.clone()), ("resource", oauth2.resource.clone())];
    AuthConfig::OAuth2 {
        token_url: oauth2.token_url.clone(),
        client_id: file(&oauth2.client_id_ref),
        client_secret: file(&oauth2.client_secret_ref),
        client_authentication: oauth2.client_authentication,
        parameters: parameters.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
    }
}

fn api_key(key: &ApiKeyAuth) -> Result<AuthConfig, Rejection> {
    let place = match (&key.header, &key.query) {
        (Some(header), None) => KeyPlace::Header(header.clone()),
        (None, Some(query)) => KeyPlace::Query(query.clone()),
        _ => return Err(Rejection::invalid(format!("{FIELD}.apiKey"), "write exactly one of header, query")),
    };
    Ok(AuthConfig::ApiKey { place, key: file(&key.key_ref) })
}

/// The files of the certificates.
pub(super) fn tls(http: &HttpSink) -> Result<TlsConfig, Rejection> {
    let Some(SinkTls { ca_ref, certificate_ref, key_ref }) = &http.tls else { return Ok(TlsConfig::default()) };
    let field = "spec.sink.http.tls";
    if !http.url.starts_with("https://") {
        return Err(Rejection::invalid(field, "only an https:// address uses certificates"));
    }
    if certificate_ref.is_some() != key_ref.is_some() {
        return Err(Rejection::invalid(field, "certificateRef and keyRef go together"));
    }
    let [ca, certificate, key] = [ca_ref, certificate_ref, key_ref].map(|reference| reference.as_ref().map(file));
    Ok(TlsConfig { ca, certificate, key })
}
