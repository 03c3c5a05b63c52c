//! The certificates by which a collector and who sends to it know each other, from files that variables name. They are read at each export,
//! so that renewed ones count without a restart, and one that is missing may still come.

use std::{
    error::Error,
    fmt::{self, Display, Formatter},
    fs, io,
    path::PathBuf,
};

use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use reqwest::blocking::ClientBuilder;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Files with PEM, as far as variables name some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// The authorities that sign the collector's certificate; `None`: the system's own.
    pub(super) authorities: Option<File>,
    /// What is shown to the collector: a certificate with what leads to an authority, and its key.
    pub(super) identity: Option<(File, File)>,
}

/// A file that a variable names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) variable: &'static str,
    pub(super) path: PathBuf,
}

/// What the files held at one moment.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Pem {
    authorities: Option<Content>,
    identity: Option<(Content, Content)>,
}

#[derive(Clone, PartialEq, Eq)]
struct Content {
    variable: &'static str,
    bytes: Vec<u8>,
}

/// Why no span can be sent, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

impl Files {
    /// Whether there are any.
    pub(super) fn are_named(&self) -> bool {
        *self != Self::default()
    }

    /// What they hold now. Errors: which one cannot be read, and why.
    pub(super) fn read(&self) -> Result<Pem, Unusable> {
        let authorities = self.authorities.as_ref().map(File::read).transpose()?;
        let identity = match &self.identity {
            Some((certificate, key)) => Some((certificate.read()?, key.read()?)),
            None => None,
        };
        Ok(Pem { authorities, identity })
    }
}

impl File {
    fn read(&self) -> Result<Content, Unusable> {
        let (variable, path) = (self.variable, self.path.display());
        let unreadable = |error: io::Error| Unusable(format!("{variable} names {path}, which cannot be read: {error}"));
        let bytes = fs::read(&self.path).map_err(unreadable)?;
        Ok(Content { variable, bytes })
    }
}

impl Pem {
    /// Whom to trust and what to show by gRPC.
    pub(super) fn for_grpc(&self) -> Result<ClientTlsConfig, Unusable> {
        self.judge()?;
        let tls = match &self.authorities {
            Some(authorities) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&authorities.bytes)),
            None => ClientTlsConfig::new().with_enabled_roots(),
        };
        Ok(match &self.identity {
            Some((certificate, key)) => tls.identity(Identity::from_pem(&certificate.bytes, &key.bytes)),
            None => tls,
        })
    }

    /// Whom to trust and what to show by HTTP.
    pub(super) fn for_http(&self, mut client: ClientBuilder) -> Result<ClientBuilder, Unusable> {
        self.judge()?;
        if let Some(authorities) = &self.authorities {
            let all = reqwest::Certificate::from_pem_bundle(&authorities.bytes);
            client = client.tls_certs_only(all.map_err(|error| self.unusable(&bottom(&error)))?);
        }
        if let Some((certificate, key)) = &self.identity {
            let both = [certificate.bytes.as_slice(), b"\n", key.bytes.as_slice()].concat();
            let identity = reqwest::Identity::from_pem(&both);
            client = client.identity(identity.map_err(|error| self.unusable(&bottom(&error)))?);
        }
        Ok(client)
    }

    /// An error of whoever used them.
    pub(super) fn unusable(&self, error: &dyn Display) -> Unusable {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let variables: Vec<_> = self.authorities.iter().chain(identity).map(|content| content.variable).collect();
        if variables.is_empty() {
            return Unusable(error.to_string());
        }
        Unusable(format!("the files of {} cannot be used: {error}", variables.join(", ")))
    }

    fn judge(&self) -> Result<(), Unusable> {
        let certificate = self.identity.as_ref().map(|(certificate, _)| certificate);
        let mut certificates = self.authorities.iter().chain(certificate);
        if let Some(content) = certificates.find(|content| !content.holds_certificates()) {
            return Err(content.without("certificates"));
        }
        match &self.identity {
            Some((_, key)) if PrivateKeyDer::from_pem_slice(&key.bytes).is_err() => Err(key.without("a private key")),
            _ => Ok(()),
        }
    }
}

impl Content {
    fn holds_certificates(&self) -> bool {
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.bytes).collect();
        certificates.is_ok_and(|certificates| !certificates.is_empty())
    }

    fn without(&self, what: &str) -> Unusable {
        Unusable(format!("{} names a file that does not hold {what} as PEM", self.variable))
    }
}

/// What lies at the bottom of an error: the reason. What lies above it says what was being done.
pub(super) fn bottom(error: &(dyn Error + 'static)) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

/// A key is nothing for a log.
impl fmt::Debug for Pem {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pem")
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;
    use reqwest::blocking::Client;

    use super::*;

    fn content(variable: &'static str, text: &str) -> Content {
        Content { variable, bytes: text.as_bytes().to_vec() }
    }

    /// What both ways of sending say about it.
    fn judged(pem: &Pem) -> [Result<(), String>; 2] {
        let by_http = pem.for_http(Client::builder()).map(drop);
        [pem.for_grpc().map(drop), by_http].map(|result| result.map_err(|unusable| unusable.to_string()))
    }

    #[test]
    fn files_are_read_anew_and_a_missing_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crt");
        let file = |variable| File { variable, path: path.clone() };
        let files = Files { authorities: Some(file("AUTHORITIES")), identity: Some((file("OWN"), file("KEY"))) };
        assert!(files.are_named() && !Files::default().are_named());
        assert_eq!(Files::default().read(), Ok(Pem::default()));
        let missing = format!("AUTHORITIES names {}, which cannot be read: No such file", path.display());
        let told = files.read().unwrap_err().to_string();
        assert!(told.starts_with(&missing), "{told}");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            files.read().unwrap()
        };
        assert!(read("1").identity == Some((content("OWN", "1"), content("KEY", "1"))));
        assert_ne!(read("1"), read("2"));
    }

    #[test]
    fn what_is_no_pem_is_told_with_its_variable() {
        let made = generate_simple_self_signed(["collector.example".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let pem = |authorities: &str, own: &str, key: &str| Pem {
            authorities: Some(content("AUTHORITIES", authorities)),
            identity: Some((content("OWN", own), content("KEY", key))),
        };
        assert_eq!(judged(&Pem::default()), [Ok(()), Ok(())]);
        assert_eq!(judged(&pem(&certificate, &certificate, &key)), [Ok(()), Ok(())]);
        for (authorities, own, key, expected) in [
            ("", &*certificate, &*key, "AUTHORITIES names a file that does not hold certificates as PEM"),
            (&*certificate, &*key, &*key, "OWN names a file that does not hold certificates as PEM"),
            (&*certificate, &*certificate, &*certificate, "KEY names a file that does not hold a private key as PEM"),
        ] {
            let expected: Result<(), String> = Err(expected.to_owned());
            assert_eq!(judged(&pem(authorities, own, key)), [expected.clone(), expected]);
        }
    }

    #[test]
    fn who_reads_about_the_sender_does_not_read_the_key() {
        let pem = Pem { authorities: None, identity: Some((content("OWN", "certificate"), content("KEY", "secret"))) };
        assert_eq!(format!("{pem:?}"), "Pem");
        let expected = "the files of OWN, KEY cannot be used: they differ";
        assert_eq!(pem.unusable(&"they differ").to_string(), expected);
        assert_eq!(Pem::default().unusable(&"no address").to_string(), "no address");
    }
}
