//! The identity of a client's certificate, as a real Envoy verifies and forwards it, and the certificates by which Kafka is reached.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use sluice_cluster::testing;
use sluice_crds::{
    CertificateFormat, KafkaConnection, SecurityProtocol,
    metrics::process::CERTIFICATE_EXPIRY,
    wire::{CertificateName, Verification},
};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, Setup, free_address},
    sender::fresh_id,
    until,
};

const HOST: &str = "hooks.example";
const PARTNER: &str = "spiffe://partner.example/sender";
const HEADER: &str = "x-forwarded-client-cert";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate and its key.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn issue(authority: &Authority, common_name: &str, name: SanType) -> Pair {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.subject_alt_names = vec![name];
    let key = KeyPair::generate().unwrap();
    Pair { certificate: params.signed_by(&key, authority).unwrap().pem(), key: key.serialize_pem() }
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

/// An Envoy in front of a receiver, which asks everybody for a certificate of the authority, until it is dropped.
struct Envoy {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Envoy {
    async fn start(receiver: SocketAddr, authority: &Authority) -> Self {
        let address = free_address();
        let folder = tempfile::tempdir().unwrap();
        let own = issue(authority, "edge", SanType::DnsName(HOST.try_into().unwrap()));
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            json!({"filename": path})
        };
        let tls = json!({
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": file("tls.crt", &own.certificate),
                    "private_key": file("tls.key", &own.key),
                }],
                "validation_context": {"trusted_ca": file("ca.crt", &authority.pem())},
            },
        });
        let config = folder.path().join("envoy.json");
        fs::write(&config, bootstrap(address, receiver, &tls).to_string()).unwrap();
        let process = Command::new(testing::envoy().unwrap())
            .arg("--config-path")
            .arg(&config)
            .args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(async || TcpStream::connect(address).await.is_ok(), |listens| *listens).await;
        Self { process, address, _folder: folder }
    }

    /// What a client is answered, with this certificate and this header; an error where TLS is refused.
    async fn send(&self, client: &reqwest::Client, header: Option<&str>) -> Result<u16, reqwest::Error> {
        let mut request = client.post(format!("https://{HOST}:{}{PATH}", self.address.port())).body(fresh_id());
        if let Some(value) = header {
            request = request.header(HEADER, value);
        }
        Ok(request.send().await?.status().as_u16())
    }

    fn client(&self, authority: &Authority, pair: Option<&Pair>) -> reqwest::Client {
        // Another test may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let authority = reqwest::Certificate::from_pem(authority.pem().as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().resolve(HOST, self.address).tls_certs_only([authority]);
        let client = match pair {
            None => client,
            Some(Pair { certificate, key }) => {
                client.identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
            }
        };
        client.build().unwrap()
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// TLS in front, and behind it the receiver, which is told of the client's certificate instead of what the client itself says.
fn bootstrap(address: SocketAddr, receiver: SocketAddr, tls: &Value) -> Value {
    let at = |address: SocketAddr| json!({"socket_address": {"address": address.ip(), "port_value": address.port()}});
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"subject": true, "uri": true, "dns": true},
        "route_config": {"virtual_hosts": [{
            "name": "receiver",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "receiver"}}],
        }]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": router}}],
    });
    let chain = json!({
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}],
    });
    let endpoints = json!([{"lb_endpoints": [{"endpoint": {"address": at(receiver)}}]}]);
    json!({"static_resources": {
        "listeners": [{"name": "edge", "address": at(address), "filter_chains": [chain]}],
        "clusters": [{
            "name": "receiver",
            "type": "STATIC",
            "load_assignment": {"cluster_name": "receiver", "endpoints": endpoints},
        }],
    }})
}

#[tokio::test]
async fn a_client_is_who_envoy_says_it_is_whatever_it_says_itself() {
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.config.verification = Verification::ClientCertificate {
        format: CertificateFormat::Envoy,
        header: "X-Forwarded-Client-Cert".into(),
        allowed: vec![CertificateName::Uri(PARTNER.into())],
        proxies: vec!["127.0.0.0/8".parse().unwrap()],
    };
    let receiver = setup.ready().await;
    let (ours, theirs) = (authority(), authority());
    let envoy = Envoy::start(receiver.endpoint, &ours).await;

    let partner = envoy.client(&ours, Some(&issue(&ours, "partner", uri(PARTNER))));
    let stranger = envoy.client(&ours, Some(&issue(&ours, "stranger", uri("spiffe://stranger.example/sender"))));
    let (as_partner, as_stranger) = (format!("URI={PARTNER}"), "URI=spiffe://stranger.example/sender");
    for (client, header, expected) in [
        (&partner, None, 202),
        (&partner, Some(as_stranger), 202),
        (&stranger, None, 401),
        (&stranger, Some(as_partner.as_str()), 401),
    ] {
        assert_eq!(envoy.send(client, header).await.unwrap(), expected, "{header:?}");
    }
    // Of these nothing gets as far as the receiver.
    for pair in [None, Some(&issue(&theirs, "partner", uri(PARTNER)))] {
        let client = envoy.client(&ours, pair);
        let refused = envoy.send(&client, Some(as_partner.as_str())).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    let written = records(&connection(), &topic).await;
    assert_eq!(written.len(), 2);
    let status = receiver.status().await;
    assert_eq!((status.accepted, status.rejected.values().sum::<u64>()), (2, 2));
}

#[tokio::test]
async fn a_receiver_shows_kafka_its_certificate_and_tells_when_that_and_the_authority_expire() {
    let kafka = tokio::task::spawn_blocking(testing::shared_secured_kafka).await.unwrap();
    let (credentials, authority) = (kafka.credentials("admin").unwrap(), kafka.authority());
    let connection = KafkaConnection {
        bootstrap_servers: vec![kafka.certificate_bootstrap()],
        security_protocol: SecurityProtocol::Ssl,
        credentials: Some(credentials.clone()),
        ca: Some(authority.clone()),
        ..KafkaConnection::default()
    };
    let topic = topic(&connection, &[]).await;
    let receiver = Setup::new(connection.clone(), &topic).ready().await;
    assert_eq!(receiver.post("{}").await.status, 202);
    assert_eq!(records(&connection, &topic).await.len(), 1);

    // The cluster's certificates are valid for as long as rcgen makes them by default.
    let expires = CertificateParams::default().not_after.unix_timestamp();
    let metrics = receiver.metrics().await;
    for file in [credentials.join("tls.crt"), authority] {
        let sample = format!("{}{{file=\"{}\"}} {expires}", CERTIFICATE_EXPIRY.name, file.display());
        assert!(metrics.lines().any(|line| line == sample), "{sample} is missing: {metrics}");
    }
}
