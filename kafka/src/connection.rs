//! Turns a Kafka connection and its mounted credentials into librdkafka's settings.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use rdkafka::ClientConfig;
use sluice_crds::{KafkaConnection, SaslMechanism, SecurityProtocol};

use crate::Error;

/// The settings that every client of this connection shares.
///
/// Credentials are read now; a client made from the result keeps them, so one that should use rotated credentials is made
/// from a new call. Errors: [`Error::File`] names a file that cannot be read, [`Error::Settings`] what contradicts itself.
/// The result prints without its password.
pub fn client_config(connection: &KafkaConnection) -> Result<ClientConfig, Error> {
    if connection.bootstrap_servers.is_empty() {
        return Err(Error::Settings("no bootstrap server is named".into()));
    }
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", connection.bootstrap_servers.join(","))
        .set("security.protocol", protocol_name(connection.security_protocol))
        .set("client.id", "sluice");
    set_sockets(&mut config);
    if uses_tls(connection.security_protocol) {
        set_authorities(&mut config, connection.ca.as_deref())?;
    }
    match connection.security_protocol {
        SecurityProtocol::Plaintext => {}
        SecurityProtocol::Ssl => set_certificate(&mut config, connection.credentials.as_deref())?,
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => set_login(&mut config, connection)?,
    }
    Ok(config)
}

/// What the files of a connection hold, as one number: another one after credentials were rotated.
///
/// A client keeps what it was made from; one made anew uses the new credentials. A file that cannot be read counts too.
pub fn credentials_fingerprint(connection: &KafkaConnection) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in credential_files(connection) {
        fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

/// The files that a connection is made from, some of which need not exist.
fn credential_files(connection: &KafkaConnection) -> Vec<PathBuf> {
    let names: &[&str] = match connection.security_protocol {
        SecurityProtocol::Plaintext => &[],
        SecurityProtocol::Ssl => &["tls.crt", "tls.key"],
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => &["username", "password"],
    };
    let credentials = connection.credentials.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    credentials.chain(connection.ca.clone()).collect()
}

fn protocol_name(protocol: SecurityProtocol) -> &'static str {
    match protocol {
        SecurityProtocol::Plaintext => "plaintext",
        SecurityProtocol::Ssl => "ssl",
        SecurityProtocol::SaslPlaintext => "sasl_plaintext",
        SecurityProtocol::SaslSsl => "sasl_ssl",
    }
}

fn uses_tls(protocol: SecurityProtocol) -> bool {
    matches!(protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
}

/// A broker that went away is noticed and found again within seconds; librdkafka's defaults wait 10 to 60 s. A small request is sent at
/// once, as the Java client does, and does not wait until the broker's machine has acknowledged the one before, up to 40 ms later. A
/// client that knows of no broker any more, as a single one that has just come back tells of none for a moment, begins anew with the servers that
/// it was given; by default after 5 minutes.
fn set_sockets(config: &mut ClientConfig) {
    config
        .set("socket.keepalive.enable", "true")
        .set("socket.nagle.disable", "true")
        .set("socket.timeout.ms", "30000")
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("metadata.recovery.rebootstrap.trigger.ms", "5000")
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000");
}

fn set_authorities(config: &mut ClientConfig, authorities: Option<&Path>) -> Result<(), Error> {
    let location = match authorities {
        Some(path) => readable(path, "the authorities that sign the brokers' certificates")?,
        None => "probe".into(),
    };
    config.set("ssl.ca.location", location);
    Ok(())
}

/// TLS without credentials is allowed: the brokers then know the client by its address only.
fn set_certificate(config: &mut ClientConfig, credentials: Option<&Path>) -> Result<(), Error> {
    let Some(folder) = credentials else { return Ok(()) };
    let certificate = readable(&folder.join("tls.crt"), "the client's certificate")?;
    let key = readable(&folder.join("tls.key"), "the key of the client's certificate")?;
    config.set("ssl.certificate.location", certificate).set("ssl.key.location", key);
    Ok(())
}

fn set_login(config: &mut ClientConfig, connection: &KafkaConnection) -> Result<(), Error> {
    let mechanism = match connection.sasl_mechanism {
        Some(SaslMechanism::Plain) => "PLAIN",
        Some(SaslMechanism::ScramSha256) => "SCRAM-SHA-256",
        Some(SaslMechanism::ScramSha512) => "SCRAM-SHA-512",
        None => return Err(Error::Settings("a SASL protocol needs saslMechanism".into())),
    };
    let folder = connection
        .credentials
        .as_deref()
        .ok_or_else(|| Error::Settings("a SASL protocol needs the folder `credentials`".into()))?;
    let username = content(&folder.join("username"), "the SASL user name")?;
    let password = content(&folder.join("password"), "the SASL password")?;
    config.set("sasl.mechanism", mechanism).set("sasl.username", username).set("sasl.password", password);
    Ok(())
}

/// The content of a small text file, without the line end that editors and `echo` leave behind.
fn content(path: &Path, purpose: &'static str) -> Result<String, Error> {
    let text =
        fs::read_to_string(path).map_err(|source| Error::File { path: path.into(), purpose, source: source.into() })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The path as text, once the file is seen to be readable: librdkafka's own error for it does not say what the file is for.
fn readable(path: &Path, purpose: &'static str) -> Result<String, Error> {
    fs::read(path).map_err(|source| Error::File { path: path.into(), purpose, source: source.into() })?;
    path.to_str().map(str::to_owned).ok_or_else(|| Error::Settings(format!("{} is not valid UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_connection_needs_no_files() {
        let config = client_config(&plain()).unwrap();
        assert_eq!(config.get("bootstrap.servers"), Some("a:9092,b:9092"));
        assert_eq!(config.get("security.protocol"), Some("plaintext"));
    }

    #[test]
    fn a_login_is_read_without_its_line_end_and_printed_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("username"), "sluice\n").unwrap();
        fs::write(folder.path().join("password"), "s3cret\r\n").unwrap();
        let config = client_config(&scram(folder.path())).unwrap();
        assert_eq!(config.get("sasl.username"), Some("sluice"));
        assert_eq!(config.get("sasl.password"), Some("s3cret"));
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn a_missing_credential_is_named_with_its_purpose() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("username"), "sluice").unwrap();
        let message = client_config(&scram(folder.path())).unwrap_err().to_string();
        let path = folder.path().join("password");
        assert!(message.contains(&path.display().to_string()), "{message}");
        assert!(message.contains("the SASL password"), "{message}");
    }

    #[test]
    fn another_password_is_another_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = || credentials_fingerprint(&scram(folder.path()));
        let missing = fingerprint();
        fs::write(folder.path().join("password"), "old").unwrap();
        let old = fingerprint();
        assert_eq!(fingerprint(), old);
        fs::write(folder.path().join("password"), "new").unwrap();
        assert!(missing != old && old != fingerprint());
    }

    #[test]
    fn a_missing_authority_is_named() {
        let connection =
            KafkaConnection { security_protocol: SecurityProtocol::Ssl, ca: Some("/nowhere/ca.crt".into()), ..plain() };
        let message = client_config(&connection).unwrap_err().to_string();
        assert!(message.contains("/nowhere/ca.crt"), "{message}");
    }

    #[test]
    fn what_a_data_plane_misses_is_named_as_its_namespace_knows_it() {
        let credentials = Path::new("/etc/sluice/kafka/credentials/shop");
        let message = client_config(&scram(credentials)).unwrap_err().to_string();
        assert!(message.contains(r#"no Secret "shop" with a key "username""#), "{message}");
        let connection = KafkaConnection {
            security_protocol: SecurityProtocol::Ssl,
            ca: Some("/etc/sluice/kafka/ca/brokers/ca.crt".into()),
            ..plain()
        };
        let message = client_config(&connection).unwrap_err().to_string();
        assert!(message.contains(r#"no ConfigMap "brokers" with a key "ca.crt""#), "{message}");
    }

    #[test]
    fn sasl_without_a_mechanism_is_refused() {
        let connection = KafkaConnection { security_protocol: SecurityProtocol::SaslSsl, ..plain() };
        assert!(client_config(&connection).unwrap_err().to_string().contains("saslMechanism"));
    }

    fn plain() -> KafkaConnection {
        KafkaConnection { bootstrap_servers: vec!["a:9092".into(), "b:9092".into()], ..KafkaConnection::default() }
    }

    fn scram(credentials: &Path) -> KafkaConnection {
        KafkaConnection {
            security_protocol: SecurityProtocol::SaslPlaintext,
            sasl_mechanism: Some(SaslMechanism::ScramSha512),
            credentials: Some(credentials.into()),
            ..plain()
        }
    }
}
