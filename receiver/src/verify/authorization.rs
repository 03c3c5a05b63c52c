//! Credentials that a sender presents as they are: a bearer token, a user name and a password, a key in a header.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};

use super::{
    Refusal, Signed, header,
    key::{Key, equals_any, same_text},
};

pub(super) fn verify_bearer(request: Signed<'_>, keys: &[Key]) -> Result<(), Refusal> {
    equals_any(keys, bearer_token(request.headers)?)
}

pub(super) fn verify_basic(request: Signed<'_>, username: &str, keys: &[Key]) -> Result<(), Refusal> {
    let pair = STANDARD.decode(credentials(request.headers, b"Basic")?).map_err(|_| Refusal::CredentialMalformed)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(Refusal::CredentialMalformed)?;
    let (given, password) = (&pair[..colon], &pair[colon + 1..]);
    // Both are compared, whatever the first comparison says.
    let password = equals_any(keys, password);
    if same_text(given, username.as_bytes()) { password } else { Err(Refusal::CredentialWrong) }
}

pub(super) fn verify_api_key(request: Signed<'_>, name: &HeaderName, keys: &[Key]) -> Result<(), Refusal> {
    equals_any(keys, header::single(request.headers, name.as_str())?)
}

/// The token of `Authorization: Bearer <token>` (RFC 6750).
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&[u8], Refusal> {
    credentials(headers, b"Bearer")
}

/// What follows the scheme, which is written in any case (RFC 9110).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &[u8]) -> Result<&'a [u8], Refusal> {
    let value = header::single(headers, AUTHORIZATION.as_str())?;
    let (given, rest) = value.split_at_checked(scheme.len()).ok_or(Refusal::CredentialMalformed)?;
    let credentials = rest.strip_prefix(b" ").map(<[u8]>::trim_ascii_start).ok_or(Refusal::CredentialMalformed)?;
    if given.eq_ignore_ascii_case(scheme) { Ok(credentials) } else { Err(Refusal::CredentialMalformed) }
}
