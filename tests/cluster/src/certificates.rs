//! The cluster's certificates: one authority, a certificate for each server and user, a kubeconfig for each user.

use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::json;

use crate::components::NODE;
use crate::components::kafka::USERS;
use crate::site::{API_PORT, Site};
use crate::template;

pub(crate) const SERVICE_ACCOUNT_ISSUER: &str = "https://kubernetes.default.svc";

type Authority = CertifiedIssuer<'static, KeyPair>;

/// Someone the API server knows by a certificate.
struct User {
    name: &'static str,
    common_name: String,
    group: Option<&'static str>,
}

struct Pair {
    certificate: String,
    key: String,
}

/// Writes all of them below the cluster's folder, and the administrator's kubeconfig at its top.
pub(crate) fn write_all(site: &Site) -> Result<()> {
    let authority = authority()?;
    template::write(&site.path("certificates/ca.crt"), &authority.pem())?;
    write_servers(site, &authority)?;
    write_kafka(site, &authority)?;
    write_service_account_keys(site)?;
    for user in users() {
        let pair = issue(&authority, &user.common_name, user.group, &[])?;
        write_secret(site, &format!("kubeconfigs/{}", user.name), &kubeconfig(site, &authority, &pair))?;
    }
    let administrator = issue(&authority, "sluice-admin", Some("system:masters"), &[])?;
    write_secret(site, "kubeconfig", &kubeconfig(site, &authority, &administrator))
}

fn users() -> Vec<User> {
    let user = |name, common_name: &str, group| User { name, common_name: common_name.to_owned(), group };
    vec![
        // Its controllers have a service account and a role each; acting for itself it needs the rights of all of them.
        user("controller-manager", "system:kube-controller-manager", Some("system:masters")),
        user("scheduler", "system:kube-scheduler", None),
        user("kubelet", &format!("system:node:{NODE}"), Some("system:nodes")),
        user("kube-proxy", "system:kube-proxy", None),
        user("coredns", "coredns", Some("system:masters")),
        user("contour", "contour", Some("system:masters")),
    ]
}

fn authority() -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "sluice-cluster");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn write_servers(site: &Site, authority: &Authority) -> Result<()> {
    let address = site.address().to_string();
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = [&names[..], &["kubernetes.default.svc.cluster.local", "127.0.0.1", "10.96.0.1", &address]].concat();
    write_pair(site, "apiserver", &issue(authority, "kube-apiserver", None, &names)?)?;
    write_pair(site, "kubelet", &issue(authority, NODE, None, &[NODE, "127.0.0.1", &address])?)?;
    let group = Some("system:masters");
    write_pair(site, "apiserver-to-kubelet", &issue(authority, "kube-apiserver-kubelet-client", group, &[])?)
}

/// The secured broker's key and certificate in one file, and a folder for each of its users: what a Secret of theirs holds.
fn write_kafka(site: &Site, authority: &Authority) -> Result<()> {
    let broker = issue(authority, "kafka", None, &["localhost", "127.0.0.1", &site.address().to_string()])?;
    write_secret(site, "certificates/kafka.pem", &format!("{}{}", broker.key, broker.certificate))?;
    for (name, password) in USERS {
        let pair = issue(authority, name, None, &[])?;
        for (file, content) in
            [("username", name), ("password", password), ("tls.crt", &pair.certificate), ("tls.key", &pair.key)]
        {
            write_secret(site, &format!("kafka-users/{name}/{file}"), content)?;
        }
    }
    Ok(())
}

fn write_service_account_keys(site: &Site) -> Result<()> {
    let key = KeyPair::generate()?;
    template::write(&site.path("certificates/service-accounts.pub"), &key.public_key_pem())?;
    write_secret(site, "certificates/service-accounts.key", &key.serialize_pem())
}

/// A certificate for a server where it has names, for a client in any case.
fn issue(authority: &Authority, common_name: &str, group: Option<&str>, names: &[&str]) -> Result<Pair> {
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, common_name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    Ok(Pair { certificate: params.signed_by(&key, authority)?.pem(), key: key.serialize_pem() })
}

fn write_pair(site: &Site, name: &str, pair: &Pair) -> Result<()> {
    template::write(&site.path(&format!("certificates/{name}.crt")), &pair.certificate)?;
    write_secret(site, &format!("certificates/{name}.key"), &pair.key)
}

fn write_secret(site: &Site, path: &str, content: &str) -> Result<()> {
    let path = site.path(path);
    template::write(&path, "")?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    template::write(&path, content)
}

/// JSON, which is YAML too. Everything is inside, so that the file can be copied elsewhere.
fn kubeconfig(site: &Site, authority: &Authority, user: &Pair) -> String {
    let server = format!("https://{}:{API_PORT}", IpAddr::V4(site.address()));
    let name = site.name().scoped();
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(authority.pem()),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": STANDARD.encode(&user.certificate),
            "client-key-data": STANDARD.encode(&user.key),
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    format!("{config:#}\n")
}
