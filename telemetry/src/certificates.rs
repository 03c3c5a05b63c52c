//! When mounted certificates expire, for Prometheus: looked up whenever it asks, so that a renewed one counts at once.

use std::{fmt, fs, path::PathBuf};

use jiff::{civil, tz::Offset};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use sluice_crds::{KafkaConnection, SecurityProtocol, metrics::process::CERTIFICATE_EXPIRY};

use crate::metrics::describe;

/// Files with certificates as PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificates {
    /// Those that a program shows of itself, with what leads to an authority.
    own: Vec<PathBuf>,
    /// Those that it trusts.
    authorities: Vec<PathBuf>,
}

impl Certificates {
    /// And what the program shows of itself.
    #[must_use]
    pub fn own(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.own.extend(files);
        self
    }

    /// And what it trusts.
    #[must_use]
    pub fn authorities(mut self, files: impl IntoIterator<Item = PathBuf>) -> Self {
        self.authorities.extend(files);
        self
    }

    /// And those of a Kafka cluster.
    #[must_use]
    pub fn of_kafka(self, connection: &KafkaConnection) -> Self {
        let is_ssl = connection.security_protocol == SecurityProtocol::Ssl;
        let own = connection.credentials.as_ref().filter(|_| is_ssl).map(|folder| folder.join("tls.crt"));
        self.own(own).authorities(connection.ca.clone())
    }

    /// When each file is of no use any more, in seconds since 1970, as far as it can be read: of a chain when the first certificate has
    /// expired, of authorities when the last one has.
    fn expiries(&self) -> impl Iterator<Item = (&PathBuf, i64)> {
        let own = self.own.iter().filter_map(|file| Some((file, read(file).into_iter().min()?)));
        let authorities = self.authorities.iter().filter_map(|file| Some((file, read(file).into_iter().max()?)));
        own.chain(authorities)
    }
}

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        describe(&mut encoder, &CERTIFICATE_EXPIRY, |mut values| {
            for (file, second) in self.expiries() {
                let labels = [("file", file.to_string_lossy())];
                ConstGauge::new(second).encode(values.encode_family(&labels)?)?;
            }
            Ok(())
        })
    }
}

fn read(file: &PathBuf) -> Vec<i64> {
    let pem = fs::read(file).unwrap_or_default();
    let certificates = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok);
    certificates.filter_map(|certificate| expiry(&certificate)).collect()
}

/// ASN.1's tags, as far as a certificate's beginning has them.
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// `notAfter` of a certificate (RFC 5280, section 4.1), in seconds since 1970.
fn expiry(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = take(SEQUENCE, certificate)?;
    let (signed, _) = take(SEQUENCE, certificate)?;
    let unversioned = take(VERSION, signed).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = take(INTEGER, unversioned)?;
    let (_algorithm, rest) = take(SEQUENCE, rest)?;
    let (_issuer, rest) = take(SEQUENCE, rest)?;
    let (validity, _) = take(SEQUENCE, rest)?;
    let (_not_before, rest) = time(validity)?;
    Some(time(rest)?.0)
}

/// The content of an element of DER with this tag, and what comes after it.
fn take(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [found, length, rest @ ..] = bytes else { return None };
    if *found != tag {
        return None;
    }
    let (length, rest) = match *length {
        short @ ..0x80 => (usize::from(short), rest),
        long => {
            let (digits, rest) =
                rest.split_at_checked(usize::from(long & 0x7f)).filter(|(digits, _)| digits.len() <= 4)?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` for years from 1950 to 2049, else `YYYYMMDDHHMMSSZ`.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (year, text, rest) = match (take(UTC_TIME, bytes), take(GENERALIZED_TIME, bytes)) {
        (Some((text, rest)), _) => {
            let year = number(text.get(..2)?)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?, rest)
        }
        (None, Some((text, rest))) => (number(text.get(..4)?)?, text.get(4..)?, rest),
        (None, None) => return None,
    };
    let part = |place: usize| i8::try_from(number(text.get(2 * place..2 * place + 2)?)?).ok();
    let moment = civil::DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    Some((Offset::UTC.to_timestamp(moment).ok()?.as_second(), rest))
}

fn number(digits: &[u8]) -> Option<i16> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::metrics::text;

    /// A certificate that expires at the end of this day.
    fn certificate(year: i32, month: u8, day: u8) -> String {
        let mut params = CertificateParams::new(vec!["ledger.example".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_chain_expires_with_its_first_certificate_and_authorities_with_their_last() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: String| {
            fs::write(folder.path().join(name), content).unwrap();
            folder.path().join(name)
        };
        // 2049 is the last year in which it is written with two digits.
        let several = [certificate(2049, 12, 31), "no certificate\n".to_owned(), certificate(2050, 1, 1)].concat();
        let (chain, trusted) = (file("tls.crt", several.clone()), file("ca.crt", several));
        let nothing = [file("none", "no certificate".to_owned()), folder.path().join("missing")];
        let certificates = Certificates::default().own([chain]).authorities([trusted]).own(nothing);
        let mut registry = Registry::default();
        registry.register_collector(Box::new(certificates));
        let text = text(&registry).replace(&folder.path().display().to_string(), "");
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "sluice_certificate_expiry_timestamp_seconds{file=\"/tls.crt\"} 2524521600",
            "sluice_certificate_expiry_timestamp_seconds{file=\"/ca.crt\"} 2524608000",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn only_a_kafka_cluster_with_tls_has_certificates() {
        let connection = |security_protocol| KafkaConnection {
            security_protocol,
            credentials: Some("/kafka".into()),
            ca: Some("/ca.crt".into()),
            ..KafkaConnection::default()
        };
        let of = |protocol| Certificates::default().of_kafka(&connection(protocol));
        let trusted = Certificates::default().authorities(["/ca.crt".into()]);
        assert_eq!(of(SecurityProtocol::SaslSsl), trusted);
        assert_eq!(of(SecurityProtocol::Ssl), trusted.own(["/kafka/tls.crt".into()]));
    }

    #[test]
    fn what_breaks_off_is_no_certificate() {
        let pem = certificate(2030, 5, 6);
        let whole = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(expiry(&whole), Some(1_904_256_000));
        assert!((0..whole.len()).find_map(|end| expiry(&whole[..end])).is_none());
    }
}
