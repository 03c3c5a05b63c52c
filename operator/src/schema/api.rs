//! The API that Confluent's schema registry has, and Apicurio, Karapace and Redpanda too. One function for each request, all with
//! a deadline.

use std::{
    error::Error as StdError,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::ensure;
use reqwest::{
    Certificate, Client, Identity, Method, RequestBuilder, Response, StatusCode, Url,
    header::{ACCEPT, CONTENT_TYPE},
    redirect::Policy,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sluice_crds::{Compatibility, Reason, SchemaReference, SchemaRegistry};
use sluice_model::topic::{SchemaVersion, WantedSchema};

use crate::{leader::Leadership, metrics::Metrics};

/// Less than the leader's margin, so that what a replica asked for in time is over before another one leads.
const TIME: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// A schema with room to spare.
const LARGEST: usize = 4 * 1024 * 1024;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Why there is no answer, or not the one that was asked for. A text completes "the schema registry "default" ...".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody answered, or somebody who has no time.
    NoAnswer(String),
    /// It does not accept our credentials, or they cannot be read.
    Unauthorized(String),
    /// The schema is not compatible with what is registered.
    Incompatible(String),
    /// The schema is none.
    Invalid(String),
    /// There is no such version of a subject that the schema refers to.
    Missing(String),
    /// Whatever else.
    Other(String),
}

impl Refusal {
    /// The class, for the status.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoAnswer(_) => Reason::RegistryUnreachable,
            Self::Unauthorized(_) => Reason::RegistryUnauthorized,
            Self::Incompatible(_) => Reason::SchemaIncompatible,
            Self::Invalid(_) => Reason::SchemaInvalid,
            Self::Missing(_) => Reason::NotFound,
            Self::Other(_) => Reason::RegistryRefused,
        }
    }

    /// The words.
    pub fn message(&self) -> &str {
        let (Self::NoAnswer(text)
        | Self::Unauthorized(text)
        | Self::Incompatible(text)
        | Self::Invalid(text)
        | Self::Missing(text)
        | Self::Other(text)) = self;
        text
    }
}

/// One registry.
pub struct Api {
    name: String,
    url: Url,
    settings: SchemaRegistry,
    /// The client, and what its files held when it was made.
    client: Mutex<(u64, Result<Client, Refusal>)>,
    leadership: Leadership,
    metrics: Arc<Metrics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    compatibility_level: String,
}

#[derive(Deserialize)]
struct Version {
    id: i64,
    version: i32,
}

#[derive(Deserialize)]
struct Complaint {
    error_code: i64,
    message: String,
}

impl Api {
    /// No connection is made yet. Error: the address is none.
    pub fn new(
        name: &str,
        settings: &SchemaRegistry,
        leadership: Leadership,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let url = Url::parse(&settings.url)?;
        ensure!(["http", "https"].contains(&url.scheme()), "it must begin with http:// or https://");
        ensure!(url.username().is_empty() && url.password().is_none(), "credentials belong into files");
        let client = Mutex::new((fingerprint(settings), client(settings)));
        metrics.registry(name);
        Ok(Self { name: name.to_owned(), url, settings: settings.clone(), client, leadership, metrics })
    }

    /// The registry's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a new client in the place of one whose files have changed since; says whether it did.
    pub fn renew(&self) -> bool {
        let mut current = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let now = fingerprint(&self.settings);
        if current.0 == now {
            return false;
        }
        *current = (now, client(&self.settings));
        true
    }

    /// The subject's own compatibility, where it has one.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, Refusal> {
        let request = self.request(Method::GET, self.address(&["config", subject]))?;
        let config: Option<Config> = self.send(&format!("tell the compatibility of {subject:?}"), request).await?;
        Ok(config.map(|config| config.compatibility_level))
    }

    /// Sets the subject's own compatibility. The subject need not exist.
    pub async fn set_compatibility(&self, subject: &str, level: Compatibility) -> Result<(), Refusal> {
        let level = level.wire();
        let request = self.request(Method::PUT, self.address(&["config", subject]))?;
        let request = with_body(request, &json!({"compatibility": level}));
        let doing = format!("set the compatibility of {subject:?} to {level}");
        self.send::<Value>(&doing, request).await?.map(drop).ok_or_else(|| unknown(&doing))
    }

    /// The newest version of a subject, where there is one.
    pub async fn newest(&self, subject: &str) -> Result<Option<SchemaVersion>, Refusal> {
        let request = self.request(Method::GET, self.address(&["subjects", subject, "versions", "latest"]))?;
        let version: Option<Version> = self.send(&format!("tell the newest version of {subject:?}"), request).await?;
        Ok(version.map(Version::into_model))
    }

    /// Whether there is what a schema refers to.
    pub async fn has(&self, reference: &SchemaReference) -> Result<bool, Refusal> {
        let (subject, version) = (reference.subject.as_str(), reference.version);
        let path = self.address(&["subjects", subject, "versions", &version.to_string()]);
        let request = self.request(Method::GET, path)?;
        let found: Option<Version> = self.send(&format!("tell version {version} of {subject:?}"), request).await?;
        Ok(found.is_some())
    }

    /// The version of the subject that holds the schema.
    pub async fn find(&self, wanted: &WantedSchema) -> Result<Option<SchemaVersion>, Refusal> {
        let request = self.with_schema(&["subjects", &wanted.subject], wanted)?;
        let version: Option<Version> = self.send(&format!("find the schema in {:?}", wanted.subject), request).await?;
        Ok(version.map(Version::into_model))
    }

    /// Registers the schema as the newest version of its subject.
    pub async fn register(&self, wanted: &WantedSchema) -> Result<(), Refusal> {
        let request = self.with_schema(&["subjects", &wanted.subject, "versions"], wanted)?;
        let doing = format!("register a version of {:?}", wanted.subject);
        self.send::<Value>(&doing, request).await?.map(drop).ok_or_else(|| unknown(&doing))
    }

    fn address(&self, path: &[&str]) -> Url {
        let mut url = self.url.clone();
        url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(path);
        url
    }

    /// The registry compares schemas without regard to spaces and order.
    fn with_schema(&self, path: &[&str], wanted: &WantedSchema) -> Result<RequestBuilder, Refusal> {
        let mut url = self.address(path);
        url.set_query(Some("normalize=true"));
        Ok(with_body(self.request(Method::POST, url)?, &body(wanted)))
    }

    fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Refusal> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).1.clone()?;
        let request = client.request(method, url).header(ACCEPT, MEDIA_TYPE);
        match &self.settings.credentials {
            Some(folder) => authorized(request, folder),
            None => Ok(request),
        }
    }

    /// `None` is the registry's own word for it: there is no such subject, version or setting.
    async fn send<T: DeserializeOwned>(&self, doing: &str, request: RequestBuilder) -> Result<Option<T>, Refusal> {
        let (client, request) = request.build_split();
        let no_request =
            |error: reqwest::Error| Refusal::Other(format!("cannot be asked to {doing}: {}", with_causes(&error)));
        let request = request.map_err(no_request)?;
        let Some(_permit) = self.leadership.permit(request.method() != Method::GET) else {
            return Err(Refusal::NoAnswer("is not asked by a replica that does not lead".to_owned()));
        };
        let answer = client.execute(request).await;
        self.metrics.registry_request(&self.name, answer.as_ref().ok().map(|answer| answer.status().as_u16()));
        let no_answer = |error: &dyn StdError| {
            Refusal::NoAnswer(format!("did not answer, asked to {doing}: {}", with_causes(error)))
        };
        let answer = answer.map_err(|error| no_answer(&error.without_url()))?;
        let status = answer.status();
        let body = whole(answer).await.map_err(|error| no_answer(error.as_ref()))?;
        if status.is_success() {
            let parsed = serde_json::from_slice(&body);
            return parsed.map(Some).map_err(|error| {
                Refusal::Other(format!(
                    "answered something else than its API, asked to {doing}: {error}; check its url"
                ))
            });
        }
        refusal(doing, status, &body).map_or(Ok(None), Err)
    }
}

impl Version {
    const fn into_model(self) -> SchemaVersion {
        SchemaVersion { id: self.id, version: self.version }
    }
}

/// It says that there is nothing of what it should make.
fn unknown(doing: &str) -> Refusal {
    Refusal::Other(format!("does not know what it was asked to do: {doing}"))
}

fn body(wanted: &WantedSchema) -> Value {
    json!({"schema": wanted.text, "schemaType": wanted.format.wire(), "references": wanted.references})
}

fn with_body(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string())
}

/// What an answer that is no success means; `None` where it says that there is no such thing.
fn refusal(doing: &str, status: StatusCode, body: &[u8]) -> Option<Refusal> {
    let complaint: Option<Complaint> = serde_json::from_slice(body).ok();
    if complaint.as_ref().is_some_and(|complaint| complaint.error_code / 100 == 404) {
        return None;
    }
    let words = complaint.map_or_else(|| String::from_utf8_lossy(body).into_owned(), |complaint| complaint.message);
    let words: String = words.trim().chars().take(2000).collect();
    let said = format!("answered {status}, asked to {doing}{}{words}", if words.is_empty() { "" } else { ": " });
    Some(match status {
        StatusCode::UNAUTHORIZED => Refusal::Unauthorized(format!("{said}; check the files in its `credentials`")),
        StatusCode::FORBIDDEN => Refusal::Unauthorized(said),
        StatusCode::CONFLICT => Refusal::Incompatible(said),
        StatusCode::UNPROCESSABLE_ENTITY => Refusal::Invalid(said),
        StatusCode::NOT_FOUND => Refusal::Other(format!("{said}; check its url")),
        StatusCode::REQUEST_TIMEOUT
        | StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Refusal::NoAnswer(said),
        _ => Refusal::Other(said),
    })
}

/// The body of an answer. One that is too long breaks off.
async fn whole(mut answer: Response) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > LARGEST {
            return Err(format!("the answer is longer than {LARGEST} bytes").into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn client(settings: &SchemaRegistry) -> Result<Client, Refusal> {
    let mut builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT)
        .timeout(TIME)
        .user_agent(concat!("sluice-operator/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = &settings.ca {
        let bundle = read(path)?;
        let none = |why: &str| Refusal::Unauthorized(format!("cannot be trusted: {} {why}", path.display()));
        let authorities = Certificate::from_pem_bundle(&bundle).map_err(|_| none("is no PEM file of certificates"))?;
        if authorities.is_empty() {
            return Err(none("holds no certificate"));
        }
        builder = builder.tls_certs_only(authorities);
    }
    if let Some(folder) = settings.credentials.as_ref().filter(|folder| has_certificate(folder)) {
        builder = builder.identity(identity(folder)?);
    }
    builder.build().map_err(|error| Refusal::Other(format!("cannot be asked: {}", with_causes(&error))))
}

fn authorized(request: RequestBuilder, folder: &Path) -> Result<RequestBuilder, Refusal> {
    let token = folder.join("token");
    if token.exists() {
        return Ok(request.bearer_auth(text(&token)?));
    }
    if has_certificate(folder) && !folder.join("username").exists() {
        return Ok(request);
    }
    Ok(request.basic_auth(text(&folder.join("username"))?, Some(text(&folder.join("password"))?)))
}

fn has_certificate(folder: &Path) -> bool {
    folder.join("tls.crt").exists()
}

/// The operator's own certificate, and its key.
fn identity(folder: &Path) -> Result<Identity, Refusal> {
    let mut pem = read(&folder.join("tls.crt"))?;
    pem.push(b'\n');
    pem.extend(read(&folder.join("tls.key"))?);
    Identity::from_pem(&pem).map_err(|_| {
        let folder = folder.display();
        Refusal::Unauthorized(format!(
            "cannot be asked: {folder}/tls.crt and tls.key are no PEM files of a certificate and its key"
        ))
    })
}

/// Editors end a file with a line break, which no credential has.
fn text(path: &Path) -> Result<String, Refusal> {
    Ok(String::from_utf8_lossy(&read(path)?).trim_end_matches(['\r', '\n']).to_owned())
}

fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    fs::read(path)
        .map_err(|error| Refusal::Unauthorized(format!("cannot be asked: {} cannot be read: {error}", path.display())))
}

/// What the files hold, as one number. One that cannot be read counts too.
fn fingerprint(settings: &SchemaRegistry) -> u64 {
    let folder = settings.credentials.iter();
    let names = ["token", "username", "password", "tls.crt", "tls.key"];
    let files = folder.flat_map(|folder| names.map(|name| folder.join(name)));
    let mut hasher = DefaultHasher::new();
    for file in files.chain(settings.ca.clone()) {
        fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// An error and all that led to it; reqwest itself says only that sending failed.
fn with_causes(error: &dyn StdError) -> String {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_class_and_the_registrys_own_words() {
        let complaint = |code: i64| json!({"error_code": code, "message": "its words"}).to_string();
        let cases = [
            (401, complaint(401), Some(Reason::RegistryUnauthorized)),
            (403, complaint(40301), Some(Reason::RegistryUnauthorized)),
            (409, complaint(409), Some(Reason::SchemaIncompatible)),
            (422, complaint(42201), Some(Reason::SchemaInvalid)),
            (503, "its words".to_owned(), Some(Reason::RegistryUnreachable)),
            (500, complaint(50001), Some(Reason::RegistryRefused)),
            (404, complaint(40401), None),
            (404, complaint(40408), None),
            (404, "<html>its words</html>".to_owned(), Some(Reason::RegistryRefused)),
        ];
        for (status, body, expected) in cases {
            let refusal = refusal("ask", StatusCode::from_u16(status).unwrap(), body.as_bytes());
            assert_eq!(refusal.as_ref().map(Refusal::reason), expected, "{status} {body}");
            assert!(refusal.is_none_or(|refusal| refusal.message().contains("its words")));
        }
    }
}
