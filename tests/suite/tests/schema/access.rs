//! How a registry is reached: one that is away or silent, one that asks for credentials, one that speaks TLS.

use std::{fs, sync::Arc};

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde_json::json;

use crate::{
    desk::{Desk, order, registry},
    guard::Guard,
};

#[tokio::test]
async fn a_registry_that_does_not_answer_delays_nobody_and_is_used_once_it_does() {
    let url = registry().await;
    let guard = Guard::stand(&url, None, None);
    guard.is_deaf(true);
    let registries =
        format!("silent: {{url: '{}'}}, away: {{url: 'http://127.0.0.1:1'}}, default: {{url: '{url}'}}", guard.url);
    let desk = Desk::with("schema-silent", &registries).await;
    let names: Vec<String> = (0..20).map(|number| format!("silent-{number}")).collect();
    for name in &names {
        desk.avro(name, &order(""), json!({"registry": "silent"})).await;
    }
    desk.avro("away", &order(""), json!({"registry": "away"})).await;
    desk.avro("orders", &order(""), json!({})).await;
    desk.has_version("orders", 1).await;
    let (status, message) = desk.says("away", "False RegistryUnreachable").await;
    assert!(message.contains("the schema registry \"away\" did not answer"), "{message}");
    assert_eq!(status.partitions, Some(1));
    // The Kafka topics were made long before the registry's silence was sure.
    for name in &names {
        let (status, _) = desk.says(name, "False RegistryUnreachable").await;
        assert_eq!(status.partitions, Some(1), "{name}");
    }
    guard.is_deaf(false);
    for name in &names {
        desk.has_version(name, 1).await;
    }
}

#[tokio::test]
async fn credentials_are_read_again_when_they_change() {
    let url = registry().await;
    // `sluice:secret` in Base64.
    let basic = Guard::stand(&url, Some("Basic c2x1aWNlOnNlY3JldA=="), None);
    let bearer = Guard::stand(&url, Some("Bearer a-token"), None);
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("basic/username", "sluice");
    write("basic/password", "wrong");
    write("bearer/token", "a-token\n");
    let entry = |name: &str, guard: &Guard| {
        format!("{name}: {{url: '{}', credentials: '{}'}}", guard.url, folder.path().join(name).display())
    };
    let registries = format!("{}, {}, {}", entry("basic", &basic), entry("bearer", &bearer), entry("nothing", &basic));
    let desk = Desk::with("schema-login", &registries).await;
    desk.avro("bearer", &order(""), json!({"registry": "bearer"})).await;
    desk.has_version("bearer", 1).await;
    desk.avro("nothing", &order(""), json!({"registry": "nothing"})).await;
    let (_, message) = desk.says("nothing", "False RegistryUnauthorized").await;
    assert!(message.contains("nothing/username cannot be read: No such file"), "{message}");

    desk.avro("basic", &order(""), json!({"registry": "basic"})).await;
    let (status, message) = desk.says("basic", "False RegistryUnauthorized").await;
    assert!(message.contains("answered 401 Unauthorized") && message.contains("`credentials`"), "{message}");
    assert_eq!(status.partitions, Some(1));
    write("basic/password", "secret");
    desk.has_version("basic", 1).await;
}

#[tokio::test]
async fn only_the_authority_that_is_configured_is_trusted() {
    let (authority, server) = certificates();
    let guard = Guard::stand(&registry().await, None, Some(server));
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let stranger = rcgen::generate_simple_self_signed(["stranger".to_owned()]).unwrap().cert.pem();
    let (ours, others) = (file("ca.crt", &authority), file("stranger.crt", &stranger));
    let url = &guard.url;
    let registries = format!("default: {{url: '{url}', ca: '{ours}'}}, stranger: {{url: '{url}', ca: '{others}'}}");
    let desk = Desk::with("schema-tls", &registries).await;
    desk.avro("orders", &order(""), json!({})).await;
    desk.has_version("orders", 1).await;
    desk.avro("stranger", &order(""), json!({"registry": "stranger"})).await;
    let (_, message) = desk.says("stranger", "False RegistryUnreachable").await;
    assert!(message.contains("invalid peer certificate"), "{message}");
}

#[tokio::test]
async fn the_operator_shows_the_certificate_that_it_has_been_given() {
    let authority = authority();
    let mut trusted = RootCertStore::empty();
    trusted.add(authority.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder(Arc::new(trusted)).build().unwrap();
    let (certificate, key) = certified(&authority, "127.0.0.1");
    let config = ServerConfig::builder().with_client_cert_verifier(verifier);
    let server = config.with_single_cert(vec![certificate.der().clone()], private(&key)).unwrap();
    let url = registry().await;
    let (only, beside) = (
        Guard::stand(&url, None, Some(server.clone())),
        // `sluice:secret` in Base64.
        Guard::stand(&url, Some("Basic c2x1aWNlOnNlY3JldA=="), Some(server)),
    );
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("ca.crt", &authority.pem());
    let stranger = self::authority();
    for (name, issuer) in [("only", &authority), ("beside", &authority), ("stranger", &stranger)] {
        let (certificate, key) = certified(issuer, "sluice-operator");
        write(&format!("{name}/tls.crt"), &certificate.pem());
        write(&format!("{name}/tls.key"), &key.serialize_pem());
    }
    write("beside/username", "sluice");
    write("beside/password", "secret");
    write("broken/tls.crt", "no certificate");
    write("broken/tls.key", "no key");
    let entry = |name: &str, guard: &Guard| {
        let (ca, credentials) = (folder.path().join("ca.crt"), folder.path().join(name));
        format!("{name}: {{url: '{}', ca: '{}', credentials: '{}'}}", guard.url, ca.display(), credentials.display())
    };
    let entries = [("only", &only), ("beside", &beside), ("stranger", &only), ("broken", &only)];
    let registries = entries.map(|(name, guard)| entry(name, guard)).join(", ");
    let desk = Desk::with("schema-mtls", &registries).await;
    for (name, _) in entries {
        desk.avro(name, &order(""), json!({"registry": name})).await;
    }
    desk.has_version("only", 1).await;
    desk.has_version("beside", 1).await;
    desk.says("stranger", "False RegistryUnreachable").await;
    let (_, message) = desk.says("broken", "False RegistryUnauthorized").await;
    assert!(message.contains("broken/tls.crt and tls.key are no PEM files"), "{message}");

    let (certificate, key) = certified(&authority, "sluice-operator");
    write("stranger/tls.key", &key.serialize_pem());
    write("stranger/tls.crt", &certificate.pem());
    desk.has_version("stranger", 1).await;
}

/// An authority, and a server that it certifies for this machine.
fn certificates() -> (String, ServerConfig) {
    let authority = authority();
    let (certificate, key) = certified(&authority, "127.0.0.1");
    let config = ServerConfig::builder().with_no_client_auth();
    (authority.pem(), config.with_single_cert(vec![certificate.der().clone()], private(&key)).unwrap())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for that name, and its key.
fn certified(authority: &CertifiedIssuer<'_, KeyPair>, name: &str) -> (Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap(), key)
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap()
}
