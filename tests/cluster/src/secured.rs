//! The broker that lets nobody in without a login, as its clients need to know it.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::Component;
use crate::components::kafka::{self, CERTIFICATE_PORT, LOGIN_PORT, OPEN_PORT, USERS};
use crate::site::Site;
use crate::supervision;

/// The secured broker. Its users are `admin`, who may do everything, and `alice`, who may do what she is allowed.
#[derive(Clone, Debug)]
pub struct SecuredKafka {
    site: Site,
}

/// A right: what may be done to what.
#[derive(Clone, Copy, Debug)]
pub struct Acl<'a> {
    /// What may be done.
    pub operation: Operation,
    /// To what.
    pub resource: Resource<'a>,
}

/// Resources, by the beginning of their names.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    Topics(&'a str),
    Groups(&'a str),
    TransactionalIds(&'a str),
}

/// Kafka's operations, by their numbers in its protocol.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    All = 2,
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Alter = 7,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
}

impl SecuredKafka {
    pub(crate) fn of(site: Site) -> Self {
        Self { site }
    }

    /// `host:port` of the listener with TLS and a login: SASL PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.
    pub fn login_bootstrap(&self) -> String {
        self.site.listener(LOGIN_PORT).to_string()
    }

    /// `host:port` of the listener with TLS that asks for a client's certificate.
    pub fn certificate_bootstrap(&self) -> String {
        self.site.listener(CERTIFICATE_PORT).to_string()
    }

    /// PEM file with the authority that signed the broker's certificate and those of its users.
    pub fn authority(&self) -> PathBuf {
        self.site.certificate("ca.crt").into()
    }

    /// Folder with a user's `username`, `password`, `tls.crt` and `tls.key`.
    pub fn credentials(&self, user: &str) -> Result<PathBuf> {
        ensure!(USERS.iter().any(|(name, _)| *name == user), "the secured broker has no user {user:?}");
        Ok(self.site.path("kafka-users").join(user))
    }

    /// Allows a user something. A broker knows it a moment later.
    pub fn allow(&self, user: &str, acl: Acl<'_>) -> Result<()> {
        supervision::running(&self.site, Component::KafkaSecured).context("the secured broker does not run")?;
        kafka::create_acl(self.site.listener(OPEN_PORT), user, acl)
    }
}
