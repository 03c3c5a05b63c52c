//! What OpenTelemetry's environment variables say. The SDK reads them itself, and passes over what it cannot use; here a person is told.
//! Pure.

/// How spans get to the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Transport {
    pub(super) protocol: Protocol,
    pub(super) is_encrypted: bool,
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
const COUNTS: [&str; 5] = [
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
];
/// They may be 0.
const LIMITS: [&str; 3] =
    ["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"];
/// Their values may be credentials.
const LISTS: [&str; 3] =
    ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"];
/// What the SDK does not do, and what there is in its place.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", AUTHORITIES),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", AUTHORITIES),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", CREDENTIALS),
    ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", CREDENTIALS),
    ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", CREDENTIALS),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", CREDENTIALS),
    ("OTEL_BSP_EXPORT_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT says how long an export may take"),
];
const AUTHORITIES: &str = "the authorities of the image are those that count";
const CREDENTIALS: &str = "credentials are sent as headers, see tracing.headersSecretName";
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
    let others = [
        exporter.and_then(|(name, value)| one_of(name, &value, &["otlp"])),
        first(COMPRESSIONS).and_then(|(name, value)| one_of(name, &value, &["none"])),
        given(SAMPLER).and_then(|(name, value)| one_of(name, &value, &SAMPLERS)),
        given(SAMPLER).and_then(|(_, sampler)| share(&sampler, given(SAMPLER_ARGUMENT))),
        given(PROPAGATORS).and_then(|(name, value)| one_of(name, &value, &["tracecontext"])),
    ];
    let exporters = OTHER_EXPORTERS.into_iter().filter_map(given);
    let exporters = exporters.filter_map(|(name, value)| one_of(name, &value, &["none"]));
    let counts = COUNTS.into_iter().filter_map(given).filter_map(|(name, value)| count(name, &value));
    let lists = LISTS.into_iter().filter_map(given).filter_map(|(name, value)| list(name, &value));
    let limits = LIMITS.into_iter().filter_map(given).filter_map(|(name, value)| limit(name, &value));
    let unsupported = UNSUPPORTED
        .into_iter()
        .filter_map(|(name, instead)| given(name).map(|_| complaint(name, format!("is not supported: {instead}"))));
    let others =
        others.into_iter().flatten().chain(exporters).chain(counts).chain(limits).chain(lists).chain(unsupported);
    match (protocol, encrypted) {
        (Ok(protocol), Ok(is_encrypted)) => {
            let complaints: Vec<_> = others.collect();
            if complaints.is_empty() { Ok(Some(Transport { protocol, is_encrypted })) } else { Err(complaints) }
        }
        (protocol, encrypted) => Err(encrypted.err().into_iter().chain(protocol.err()).chain(others).collect()),
    }
}

/// Whether the variable is one of those that are judged, or can be whatever it likes.
pub(super) fn is_known(name: &str) -> bool {
    let lists: [&[&str]; 8] =
        [&ENDPOINTS, &PROTOCOLS, &COMPRESSIONS, &COUNTS, &LIMITS, &LISTS, &OTHER_EXPORTERS, &UNJUDGED];
    let single = [SAMPLER, SAMPLER_ARGUMENT, DISABLED, EXPORTER, PROPAGATORS];
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
        let http = Transport { protocol: Protocol::Http, is_encrypted: false };
        let cases = [
            (vec![], None),
            (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], None),
            (vec![("OTEL_TRACES_SAMPLER", "nonsense")], None),
            (vec![ENDPOINT], Some(http)),
            (vec![ENDPOINT, ("OTEL_SDK_DISABLED", "True")], None),
            (vec![ENDPOINT, ("OTEL_SDK_DISABLED", "no"), ("OTEL_TRACES_EXPORTER", "otlp")], Some(http)),
            (vec![ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")], None),
            (
                vec![ENDPOINT, ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces:4317")],
                Some(Transport { is_encrypted: true, ..http }),
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
                Some(Transport { protocol: Protocol::Grpc, ..http }),
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
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "10%"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Bearer secret"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_LOGS_EXPORTER", "otlp"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.crt"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "5000"),
        ]);
        let expected = [
            "OTEL_EXPORTER_OTLP_ENDPOINT is no address as in http://collector.observability:4318",
            "OTEL_EXPORTER_OTLP_PROTOCOL is \"http/json\"; grpc and http/protobuf are known",
            "OTEL_TRACES_EXPORTER is \"zipkin\"; known: otlp",
            "OTEL_EXPORTER_OTLP_COMPRESSION is \"gzip\"; known: none",
            "OTEL_TRACES_SAMPLER_ARG is \"10%\", no share from 0 to 1",
            "OTEL_PROPAGATORS is \"b3\"; known: tracecontext",
            "OTEL_LOGS_EXPORTER is \"otlp\"; known: none",
            "OTEL_BSP_MAX_QUEUE_SIZE is \"0\", no whole number above 0",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is \"-1\", no whole number",
            "OTEL_EXPORTER_OTLP_HEADERS is no list as in key=value,key=value",
            "OTEL_EXPORTER_OTLP_CERTIFICATE is not supported: the authorities of the image are those that count",
            "OTEL_BSP_EXPORT_TIMEOUT is not supported: OTEL_EXPORTER_OTLP_TIMEOUT says how long an export may take",
        ];
        assert_eq!(told, Err(expected.map(str::to_owned).to_vec()));
        let told = judged(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "sometimes")]).unwrap_err();
        assert!(told[0].starts_with("OTEL_TRACES_SAMPLER is \"sometimes\"; known: always_on"), "{told:?}");
        let told = judged(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio")]);
        let expected = "OTEL_TRACES_SAMPLER_ARG is missing: traceidratio needs a share from 0 to 1";
        assert_eq!(told, Err(vec![expected.to_owned()]));
    }
}
