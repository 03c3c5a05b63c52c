//! APIs behind TLS: authorities of one's own, client certificates, HTTP/2.

use std::{net::SocketAddr, sync::Arc};

use axum::serve::Listener;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sluice_crds::{
    metrics::process::CERTIFICATE_EXPIRY,
    wire::{HttpSinkConfig, SinkConfig, TlsConfig, WorkerConfig},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    api::Api,
    kafka::Place,
    mounted::Mounted,
    running::{Worker, config, numbered},
};

pub(crate) type Authority = CertifiedIssuer<'static, KeyPair>;

/// A certificate with its key, as PEM.
pub(crate) struct Pair {
    certificate: String,
    key: String,
}

/// When authorities expire, in seconds since 1970: with the year 2050.
const AUTHORITIES_EXPIRE: i64 = 2_524_608_000;
/// The same of what they issue: a day before.
const ISSUED_EXPIRE: i64 = 2_524_521_600;

pub(crate) fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(2050, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

pub(crate) fn issue(authority: &Authority, name: &str) -> Pair {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_after = date_time_ymd(2049, 12, 31);
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, authority).unwrap();
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

/// Connections that have shown their certificate.
pub(crate) struct Encrypted {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Encrypted {
    /// A server that lets in whom this authority has signed, or everybody.
    pub(crate) async fn new(server: &Pair, clients: Option<&Authority>) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let certificate = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
        let config = match clients {
            Some(clients) => ServerConfig::builder().with_client_cert_verifier(verifier(clients)),
            None => ServerConfig::builder().with_no_client_auth(),
        };
        let mut config = config.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

fn verifier(clients: &Authority) -> Arc<dyn ClientCertVerifier> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
    WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap()
}

impl Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            // Who shows no certificate, or another one, is not let in.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

#[tokio::test]
async fn certificates_are_checked_shown_and_rotated_without_a_restart() {
    let (place, mounted) = (Place::new("encrypted", 1).await, Mounted::new());
    let [servers, clients, others] = ["servers", "clients", "others"].map(authority);
    let api = Api::at(Encrypted::new(&issue(&servers, "localhost"), Some(&clients)).await, |_| crate::api::status(200));
    let url = api.url.replace("http://127.0.0.1", "https://localhost");
    let tls = TlsConfig {
        ca: Some(mounted.file("ledger", "ca.crt")),
        certificate: Some(mounted.file("ledger", "tls.crt")),
        key: Some(mounted.file("ledger", "tls.key")),
    };
    let sink = HttpSinkConfig { tls, ..HttpSinkConfig::new(&url) };
    let config = WorkerConfig { sink: SinkConfig::Http(sink), ..config(&place, &url) };
    let mount = |authority: &Authority, pair: &Pair| {
        let data = [("ca.crt", authority.pem()), ("tls.crt", pair.certificate.clone()), ("tls.key", pair.key.clone())];
        mounted.write("ledger", &data.each_ref().map(|(key, value)| (*key, value.as_str())));
    };
    let (known, unknown) = (issue(&clients, "worker"), issue(&others, "worker"));
    place.write(numbered(0..100)).await;
    // The worker does not trust the API.
    mount(&others, &known);
    let worker = Worker::start(&config);
    worker.until_status("the API's certificate is refused", |told| told.retries > 0).await;
    worker.until_logged("invalid peer certificate: UnknownIssuer").await;
    // The API does not trust the worker.
    mount(&servers, &unknown);
    let before = worker.status().await.retries;
    worker.until_status("the worker's certificate is refused", |told| told.retries > before + 10).await;
    assert_eq!(api.requests().len(), 0);

    mount(&servers, &known);
    api.until_numbers(100).await;
    place.until_no_lag().await;
    assert!(api.requests().iter().all(|request| request.version == http::Version::HTTP_2));
    assert_eq!(worker.status().await.dead_lettered, 0);

    let metrics = worker.get("/metrics").await.1;
    for (file, expires) in [("ca.crt", AUTHORITIES_EXPIRE), ("tls.crt", ISSUED_EXPIRE)] {
        let file = mounted.file("ledger", file);
        let sample = format!("{}{{file=\"{}\"}} {expires}", CERTIFICATE_EXPIRY.name, file.display());
        assert!(metrics.lines().any(|line| line == sample), "{sample} is missing: {metrics}");
    }
}
