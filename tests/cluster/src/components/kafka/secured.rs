//! What makes a broker ask who somebody is, and what he may do.

use crate::site::Site;
use crate::template::fill;

const SETTINGS: &str = include_str!("../../../components/kafka/secured.properties");

/// Names and passwords of those who can log in, and of those who have a certificate. `admin` may do everything.
pub(crate) const USERS: [(&str, &str); 2] = [("admin", "admin-secret"), ("alice", "alice-secret")];

pub(super) fn settings(site: &Site) -> String {
    let users = USERS.map(|(name, password)| format!("user_{name}=\"{password}\"")).join(" ");
    let (keystore, authority) = (site.certificate("kafka.pem"), site.certificate("ca.crt"));
    fill(SETTINGS, &[("users", &users), ("keystore", &keystore), ("authority", &authority)])
}
