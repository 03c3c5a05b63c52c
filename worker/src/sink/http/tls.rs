//! TLS as a sink's files say: authorities beside those of the web, and the worker's own certificate.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, ensure};
use rustls::{
    ClientConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;
use sluice_crds::wire::TlsConfig;
use sluice_outgoing::read_secret;

/// Reads the files. HTTP/2 is asked for, and HTTP/1.1 where a server does not have it. Errors: what is missing of the files, or wrong
/// with them.
pub(super) fn client_config(TlsConfig { ca, certificate, key }: &TlsConfig) -> anyhow::Result<ClientConfig> {
    let provider = CryptoProvider::get_default().context("the process has no TLS provider")?;
    let authorities = ca.as_deref().map(certificates).transpose()?.unwrap_or_default();
    let verifier = Verifier::new_with_extra_roots(authorities, Arc::clone(provider))
        .context("cannot make an HTTP client of the sink's authorities")?;
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (certificate, key) {
        (Some(certificate), Some(key)) => config
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .context("cannot make an HTTP client of the sink's certificate and key")?,
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let no_pem = || format!("{} does not hold certificates as PEM", file.display());
    let text = read_secret(file)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.with_context(no_pem)?;
    ensure!(!certificates.is_empty(), no_pem());
    Ok(certificates)
}

fn private_key(file: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let text = read_secret(file)?;
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .with_context(|| format!("{} does not hold a private key as PEM", file.display()))
}
