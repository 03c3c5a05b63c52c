//! JSON Web Tokens (RFC 7519), signed by a key that the issuer publishes (RFC 7517).

use std::{fmt, time::Duration};

use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    errors::ErrorKind,
    jwk::{Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

use super::{Freshness, Refusal, Signed, authorization::bearer_token, key::Key};

/// What a token must say.
#[derive(Debug)]
pub struct Rules {
    pub(super) issuer: String,
    pub(super) audience: Vec<String>,
    /// None means anybody.
    pub(super) subjects: Vec<String>,
}

/// A key of the issuer's.
pub struct PublishedKey {
    id: Option<String>,
    /// What the issuer says that it is for.
    algorithm: Option<KeyAlgorithm>,
    key: DecodingKey,
}

/// Why there are no keys; a sentence that follows their address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySet {
    #[error("is no JSON Web Key Set: {0}")]
    Malformed(String),
    #[error("has no public key for signatures (RSA, P-256, P-384, Ed25519)")]
    Empty,
}

/// Only signatures that nobody but the issuer can make: with a symmetric one every receiver could, and `none` is none.
const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far clocks may be apart; the Webhook's tolerance may be smaller.
const LEEWAY: Duration = Duration::from_mins(1);
/// An issuer has two or three. A token that names none is tried with all of them.
const KEYS: usize = 32;

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    nbf: Option<f64>,
    sub: Option<String>,
}

/// The usable keys of a set. Keys for other purposes are left out.
pub(crate) fn published_keys(set: &[u8]) -> Result<Vec<Key>, InvalidKeySet> {
    let set: JwkSet = serde_json::from_slice(set).map_err(|error| InvalidKeySet::Malformed(error.to_string()))?;
    let keys: Vec<_> = set.keys.iter().filter_map(published_key).take(KEYS).collect();
    if keys.is_empty() { Err(InvalidKeySet::Empty) } else { Ok(keys) }
}

fn published_key(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    let for_signatures = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let key = DecodingKey::from_jwk(jwk).ok().filter(|key| for_signatures && is_asymmetric(key))?;
    Some(Key::Published(Box::new(PublishedKey { id: common.key_id.clone(), algorithm: common.key_algorithm, key })))
}

fn is_asymmetric(key: &DecodingKey) -> bool {
    key.family().algorithms().iter().any(|algorithm| ASYMMETRIC.contains(algorithm))
}

pub(super) fn verify(request: Signed<'_>, rules: &Rules, keys: &[Key], freshness: &Freshness) -> Result<(), Refusal> {
    let token = bearer_token(request.headers)?;
    let header = decode_header(token).map_err(|_| Refusal::CredentialMalformed)?;
    if !ASYMMETRIC.contains(&header.alg) || header.crit.is_some() {
        return Err(Refusal::CredentialMalformed);
    }
    let candidates = keys.iter().filter_map(|key| if let Key::Published(key) = key { Some(key) } else { None });
    let candidates = candidates.filter(|key| key.may_have_signed(header.alg, header.kid.as_deref()));
    let validation = rules.validation(header.alg);
    let mut verdict = Err(Refusal::KeyUnknown);
    for candidate in candidates {
        match decode::<Claims>(token, &candidate.key, &validation) {
            Ok(token) => return rules.check(&token.claims, freshness),
            Err(error) => verdict = Err(refusal(error.kind())),
        }
    }
    verdict
}

fn refusal(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::InvalidIssuer
        | ErrorKind::InvalidAudience
        | ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_) => Refusal::ClaimWrong,
        ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => {
            Refusal::CredentialMalformed
        }
        _ => Refusal::SignatureWrong,
    }
}

impl Rules {
    /// Time is checked by `check`, which is told what time it is.
    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&self.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }

    fn check(&self, claims: &Claims, freshness: &Freshness) -> Result<(), Refusal> {
        let leeway = freshness.tolerance.min(LEEWAY).as_secs_f64();
        let now = freshness.now.as_duration().as_secs_f64();
        if claims.exp + leeway < now {
            return Err(Refusal::TimestampTooOld);
        }
        if claims.nbf.is_some_and(|not_before| not_before - leeway > now) {
            return Err(Refusal::TimestampTooNew);
        }
        let wanted = |subject: &String| self.subjects.contains(subject);
        if self.subjects.is_empty() || claims.sub.as_ref().is_some_and(wanted) {
            Ok(())
        } else {
            Err(Refusal::ClaimWrong)
        }
    }
}

impl PublishedKey {
    fn may_have_signed(&self, algorithm: Algorithm, id: Option<&str>) -> bool {
        let named = id.is_none_or(|id| self.id.as_deref() == Some(id));
        let meant = self.algorithm.is_none_or(|meant| meant == KeyAlgorithm::from(algorithm));
        named && meant && self.key.family().algorithms().contains(&algorithm)
    }
}

impl fmt::Debug for PublishedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PublishedKey").field("id", &self.id).finish_non_exhaustive()
    }
}
