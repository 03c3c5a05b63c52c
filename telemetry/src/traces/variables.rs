//! What OpenTelemetry's environment variables say. The SDK reads them itself, and passes over what it cannot use; here a person is told.
//! Pure.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::tls::{File, Files};

/// How spans get to the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) protocol: Protocol,
    pub(super) is_encrypted: bool,
    /// How long an export may take.
    pub(super) timeout: Duration,
    /// None where nothing is encrypted.
    pub(super) files: Files,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    Http,
}

/// A variable with a value that is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub(super) struct Complaint {
    variable: &'static str,
    problem: String,
}

/// Those about traces are stronger than those about all signals.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOLS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
const COMPRESSIONS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"];
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
const CERTIFICATES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE"];
const CLIENT_CERTIFICATES: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"];
const CLIENT_KEYS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY"];
/// Their values may be credentials.
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
const COUNTS: [&str; 3] = ["OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"];
/// They may be 0.
const LIMITS: [&str; 3] =
    ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"];
/// What the SDK does not do, and what there is in its place.
const UNSUPPORTED: [(&str, &str); 1] =
    [("OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT says how long an export may take")];
/// OpenTelemetry's own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLER_ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
const DISABLED: &str = "OTEL_SDK_DISABLED";
const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
/// Of what there is nothing to export.
const OTHER_EXPORTERS: [&str; 2] = ["OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"];
const PROPAGATORS: &str = "OTEL_PROPAGATORS";
/// Any value will do. Whether there is TLS is said by the address's scheme, which is stronger than what else says it.
const UNJUDGED: [&str; 3] = ["OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"];
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// What the variables say; an empty one says nothing, as OpenTelemetry wants it. `None`: no traces are wanted.
pub(super) fn judge(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Transport>, Vec<Complaint>> {
    let given = |name: &'static str| variable(name).filter(|value| !value.is_empty()).map(|value| (name, value));
    let first = |names: [&'static str; 2]| names.into_iter().find_map(given);
    let is_disabled = given(DISABLED).is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"));
    let exporter = given(EXPORTER);
    if is_disabled || exporter.as_ref().is_some_and(|(_, value)| value == "none") {
        return Ok(None);
    }
    let Some((name, endpoint)) = first(ENDPOINTS) else { return Ok(None) };

    let encrypted = encrypted(name, &endpoint);
    let protocol = first(PROTOCOLS).map_or(Ok(Protocol::Http), |(name, value)| protocol(name, &value));
    let timeout = first(TIMEOUTS).and_then(|(_, value)| value.parse().ok());
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, Duration::from_millis);
    // Of what is no address nobody knows whether it would have been encrypted.
    let files = files([CERTIFICATES, CLIENT_CERTIFICATES, CLIENT_KEYS].map(first), encrypted != Ok(false));
    let (files, of_files) = files.map_or_else(|complaints| (Files::default(), complaints), |files| (files, Vec::new()));
    let others = [
        exporter.and_then(|(name, value)| one_of(name, &value, &["otlp"])),
        first(COMPRESSIONS).and_then(|(name, value)| one_of(name, &value, &["gzip", "none"])),
        given(SAMPLER).and_then(|(name, value)| one_of(name, &value, &SAMPLERS)),
        given(SAMPLER).and_then(|(_, sampler)| share(&sampler, given(SAMPLER_ARGUMENT))),
        given(PROPAGATORS).and_then(|(name, value)| one_of(name, &value, &["tracecontext"])),
        given(ATTRIBUTES).and_then(|(name, value)| list(name, &value)),
    ];
    let exporters = OTHER_EXPORTERS.into_iter().filter_map(given);
    let exporters = exporters.filter_map(|(name, value)| one_of(name, &value, &["none"]));
    let counts = TIMEOUTS.into_iter().chain(COUNTS).filter_map(given);
    let counts = counts.filter_map(|(name, value)| count(name, &value));
    let headers = HEADERS.into_iter().filter_map(given).filter_map(|(name, value)| headers(name, &value));
    let limits = LIMITS.into_iter().filter_map(given).filter_map(|(name, value)| limit(name, &value));
    let unsupported = UNSUPPORTED
        .into_iter()
        .filter_map(|(name, instead)| given(name).map(|_| complaint(name, format!("is not supported: {instead}"))));
    let others = others.into_iter().flatten().chain(exporters).chain(counts).chain(limits).chain(headers);
    let others = others.chain(of_files).chain(unsupported);
    match (protocol, encrypted) {
        (Ok(protocol), Ok(is_encrypted)) => {
            let complaints: Vec<_> = others.collect();
            let transport = Transport { protocol, is_encrypted, timeout, files };
            if complaints.is_empty() { Ok(Some(transport)) } else { Err(complaints) }
        }
        (protocol, encrypted) => Err(encrypted.err().into_iter().chain(protocol.err()).chain(others).collect()),
    }
}

/// Whether the variable is one of those that are judged, or can be whatever it likes.
pub(super) fn is_known(name: &str) -> bool {
    let pairs = [ENDPOINTS, PROTOCOLS, COMPRESSIONS, TIMEOUTS, CERTIFICATES, CLIENT_CERTIFICATES, CLIENT_KEYS, HEADERS];
    let lists: [&[&str]; 5] = [pairs.as_flattened(), &COUNTS, &LIMITS, &OTHER_EXPORTERS, &UNJUDGED];
    let single = [SAMPLER, SAMPLER_ARGUMENT, DISABLED, EXPORTER, PROPAGATORS, ATTRIBUTES];
    let unsupported = UNSUPPORTED.map(|(name, _)| name);
    lists.concat().contains(&name) || single.contains(&name) || unsupported.contains(&name)
}

fn complaint(variable: &'static str, problem: impl Into<String>) -> Complaint {
    Complaint { variable, problem: problem.into() }
}

/// An address may hold a password: it is not repeated.
fn encrypted(name: &'static str, address: &str) -> Result<bool, Complaint> {
    match address.split_once("://") {
        Some(("http", rest)) if !rest.is_empty() => Ok(false),
        Some(("https", rest)) if !rest.is_empty() => Ok(true),
        _ => Err(complaint(name, "is no address as in http://collector.observability:4318")),
    }
}

fn protocol(name: &'static str, value: &str) -> Result<Protocol, Complaint> {
    match value {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::Http),
        _ => Err(complaint(name, format!("is {value:?}; grpc and http/protobuf are known"))),
    }
}

/// The files of authorities, of a certificate, and of its key.
fn files(given: [Option<(&'static str, String)>; 3], is_encrypted: bool) -> Result<Files, Vec<Complaint>> {
    let lone = match &given {
        [_, Some((name, _)), None] => Some(complaint(name, format!("is of no use without {}", CLIENT_KEYS[1]))),
        [_, None, Some((name, _))] => Some(complaint(name, format!("is of no use without {}", CLIENT_CERTIFICATES[1]))),
        _ => None,
    };
    let unusable = given.iter().flatten().filter_map(|(name, path)| file(name, path, is_encrypted));
    let complaints: Vec<_> = unusable.chain(lone).collect();
    if !complaints.is_empty() {
        return Err(complaints);
    }
    let [authorities, certificate, key] =
        given.map(|given| given.map(|(variable, path)| File { variable, path: path.into() }));
    Ok(Files { authorities, identity: certificate.zip(key) })
}

/// Somebody may have written a key in place of its file: it is not repeated.
fn file(name: &'static str, path: &str, is_encrypted: bool) -> Option<Complaint> {
    if !path.starts_with('/') {
        return Some(complaint(name, "is no path as in /etc/sluice/tracing/ca.crt"));
    }
    (!is_encrypted).then(|| complaint(name, "is of no use without TLS: the collector's address begins with http://"))
}

fn one_of(name: &'static str, value: &str, known: &[&str]) -> Option<Complaint> {
    let is_known = known.contains(&value);
    (!is_known).then(|| complaint(name, format!("is {value:?}; known: {}", known.join(", "))))
}

/// The samplers that take a share need one from 0 to 1.
fn share(sampler: &str, argument: Option<(&'static str, String)>) -> Option<Complaint> {
    if !sampler.ends_with("traceidratio") {
        return None;
    }
    let Some((name, value)) = argument else {
        return Some(complaint(SAMPLER_ARGUMENT, format!("is missing: {sampler} needs a share from 0 to 1")));
    };
    let is_share = value.parse::<f64>().is_ok_and(|share| (0.0..=1.0).contains(&share));
    (!is_share).then(|| complaint(name, format!("is {value:?}, no share from 0 to 1")))
}

fn count(name: &'static str, value: &str) -> Option<Complaint> {
    let is_count = value.parse::<u32>().is_ok_and(|count| count > 0);
    (!is_count).then(|| complaint(name, format!("is {value:?}, no whole number above 0")))
}

fn limit(name: &'static str, value: &str) -> Option<Complaint> {
    value.parse::<u32>().is_err().then(|| complaint(name, format!("is {value:?}, no whole number")))
}

fn list(name: &'static str, value: &str) -> Option<Complaint> {
    let is_pair = |entry: &str| entry.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty());
    let is_list = value.split_terminator(',').all(is_pair);
    (!is_list).then(|| complaint(name, "is no list as in key=value,key=value"))
}

/// The SDK leaves out what cannot stand in a header.
fn headers(name: &'static str, value: &str) -> Option<Complaint> {
    let is_header = |entry: &str| {
        entry.split_once('=').is_some_and(|(key, value)| {
            let value = value.trim();
            let decoded = percent_decode_str(value).decode_utf8();
            let decoded = decoded.as_deref().unwrap_or(value);
            let is_value = !decoded.is_empty() && HeaderValue::from_str(decoded).is_ok();
            is_value && HeaderName::from_bytes(key.trim().as_bytes()).is_ok()
        })
    };
    let place = value.split_terminator(',').position(|entry| !is_header(entry))?;
    let problem = "is no header as in authorization=Bearer%20abc";
    Some(complaint(name, format!("is no list as in key=value,key=value: its entry {} {problem}", place + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn judged(variables: &[(&str, &str)]) -> Result<Option<Transport>, Vec<String>> {
        let value = |name: &str| {
            let found = variables.iter().find(|(given, _)| *given == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        judge(value).map_err(|complaints| complaints.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn traces_are_wanted_where_a_collector_is_named() {
        let timeout = Duration::from_secs(10);
        let http = Transport { protocol: Protocol::Http, is_encrypted: false, timeout, files: Files::default() };
        let file = |variable, path: &str| File { variable, path: path.into() };
        let cases = [
            (vec![], None),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (vec![("OTEL_TRACES_SAMPLER", "nonsense")], None),
            (vec![ENDPOINT], Some(http.clone())),
            (vec![ENDPOINT, ("OTEL_SDK_DISABLED", "True")], None),
            (vec![ENDPOINT, ("OTEL_SDK_DISABLED", "no"), ("OTEL_TRACES_EXPORTER", "otlp")], Some(http.clone())),
            (vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None),
            (
                vec![ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4317")],
                Some(Transport { is_encrypted: true, ..http.clone() }),
            ),
            (
                vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
                    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt"),
                    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/traces.crt"),
                    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/all.crt"),
                    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key"),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
                    ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
                ],
                Some(Transport {
                    protocol: Protocol::Http,
                    is_encrypted: true,
                    timeout: Duration::from_millis(2500),
                    files: Files {
                        authorities: Some(file("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt")),
                        identity: Some((
                            file("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/traces.crt"),
                            file("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key"),
                        )),
                    },
                }),
            ),
            (
                vec![
                    ENDPOINT,
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
                    ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,tenant=shop"),
                    ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                    ("OTEL_TRACES_SAMPLER_ARG", "0.1"),
                    ("OTEL_BSP_SCHEDULE_DELAY", "1000"),
                    ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
                    ("OTEL_PROPAGATORS", "tracecontext"),
                    ("OTEL_METRICS_EXPORTER", "none"),
                ],
                Some(Transport { protocol: Protocol::Grpc, ..http.clone() }),
            ),
        ];
        for (variables, expected) in cases {
            assert_eq!(judged(&variables), Ok(expected), "{variables:?}");
        }
    }

    #[test]
    fn every_value_that_is_of_no_use_is_told_with_its_variable() {
        let told = judged(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "user:password@collector"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "10%"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "-----BEGIN CERTIFICATE-----"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/tls.key"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "5000"),
        ]);
        let expected = [
            "OTEL_EXPORTER_OTLP_ENDPOINT is no address as in http://collector.observability:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL is \"http/json\"; grpc and http/protobuf are known",
            "OTEL_TRACES_EXPORTER is \"zipkin\"; known: otlp",
            "OTEL_EXPORTER_OTLP_COMPRESSION is \"zstd\"; known: gzip, none",
            "OTEL_TRACES_SAMPLER_ARG is \"10%\", no share from 0 to 1",
            "OTEL_PROPAGATORS is \"b3\"; known: tracecontext",
            "OTEL_LOGS_EXPORTER is \"otlp\"; known: none",
            "OTEL_BSP_MAX_QUEUE_SIZE is \"0\", no whole number above 0",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is \"-1\", no whole number",
            "OTEL_EXPORTER_OTLP_HEADERS is no list as in key=value,key=value: its entry 1 is no header as in \
             authorization=Bearer%20abc",
            "OTEL_EXPORTER_OTLP_CERTIFICATE is no path as in /etc/sluice/tracing/ca.crt",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY is of no use without OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
            "OTEL_BSP_EXPORT_TIMEOUT is not supported: OTEL_EXPORTER_OTLP_TIMEOUT says how long an export may take",
        ];
        assert_eq!(told, Err(expected.map(str::to_owned).to_vec()));
        let told = judged(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "sometimes")]).unwrap_err();
        assert!(told[0].starts_with("OTEL_TRACES_SAMPLER is \"sometimes\"; known: always_on"), "{told:?}");
        let told = judged(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio")]);
        let expected = "OTEL_TRACES_SAMPLER_ARG is missing: traceidratio needs a share from 0 to 1";
        assert_eq!(told, Err(vec![expected.to_owned()]));
    }

    #[test]
    fn files_are_of_no_use_without_tls() {
        let [authorities, certificate] =
            ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE"];
        let told = judged(&[ENDPOINT, (authorities, "/ca.crt"), (certificate, "/tls.crt")]);
        let expected = [
            "OTEL_EXPORTER_OTLP_CERTIFICATE is of no use without TLS: the collector's address begins with http://",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE is of no use without TLS: the collector's address begins \
             with http://",
            "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE is of no use without OTEL_EXPORTER_OTLP_CLIENT_KEY",
        ];
        assert_eq!(told, Err(expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn a_header_that_the_sdk_would_leave_out_is_told_by_its_place() {
        let told = |headers| judged(&[ENDPOINT, ("OTEL_EXPORTER_OTLP_HEADERS", headers)]).map(drop);
        // A Secret often ends with the line that an editor left.
        for headers in ["a=b", "Authorization=Bearer abc\n", "authorization = Basic%20YTpi==, tenant=shop,", "a=100%"] {
            assert_eq!(told(headers), Ok(()), "{headers:?}");
        }
        for (headers, place) in [("a", 1), ("=b", 1), ("a=", 1), ("a=b,,c=d", 2), ("a=b,c d=e", 2), ("a=b%0Ac", 1)] {
            let told = told(headers).unwrap_err();
            let expected =
                format!("OTEL_EXPORTER_OTLP_HEADERS is no list as in key=value,key=value: its entry {place} is");
            assert!(told.len() == 1 && told[0].starts_with(&expected), "{headers:?}: {told:?}");
        }
    }
}
