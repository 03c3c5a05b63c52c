//! How a Collector lets in only whom it knows: by a certificate of its own authority and a bearer token. By HTTP it takes only what is
//! compressed.

use std::{fs, path::Path};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// The token that the Collector knows.
pub const TOKEN: &str = "let-me-in";

/// The extension of the Collector that compares it.
pub(super) const TOKEN_CHECK: &str = "bearertokenauth";

/// What a Collector knows senders by.
pub struct Guard {
    authority: Authority,
    folder: TempDir,
}

impl Guard {
    pub(super) fn new() -> anyhow::Result<Self> {
        let (authority, folder) = (authority("collector")?, tempfile::tempdir()?);
        write(folder.path(), "ca.crt", &authority.pem())?;
        write_pair(folder.path(), &authority)?;
        Ok(Self { authority, folder })
    }

    /// What a sender has to have, as a Secret and a ConfigMap would hold it.
    pub fn let_in(&self, folder: &Path) -> anyhow::Result<()> {
        // Last what a sender may wait for.
        write_pair(folder, &self.authority)?;
        write(folder, "ca.crt", &self.authority.pem())
    }

    /// The Collector's settings of a protocol, for this address.
    pub(super) fn settings(&self, endpoint: &str) -> Value {
        let file = |name: &str| self.folder.path().join(name);
        json!({
            "endpoint": endpoint,
            "tls": {"cert_file": file("tls.crt"), "key_file": file("tls.key"), "client_ca_file": file("ca.crt")},
            "auth": {"authenticator": TOKEN_CHECK},
        })
    }
}

/// The authority of somebody else, in place of what a sender has to trust.
pub fn mistake_authority(folder: &Path) -> anyhow::Result<()> {
    write(folder, "ca.crt", &authority("stranger")?.pem())
}

fn authority(name: &str) -> anyhow::Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A certificate for the Collector and for senders alike, and its key.
fn write_pair(folder: &Path, authority: &Authority) -> anyhow::Result<()> {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    write(folder, "tls.key", &key.serialize_pem())?;
    write(folder, "tls.crt", &params.signed_by(&key, authority)?.pem())
}

fn write(folder: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    fs::write(folder.join(name), content).with_context(|| format!("cannot write {name} into {}", folder.display()))
}
