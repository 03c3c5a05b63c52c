//! The collector of traces of the operator's configuration, as the data planes reach it: by OpenTelemetry's variables, and files that some
//! of them name.

use std::collections::BTreeMap;

use sluice_crds::{Tracing, wire};

/// OpenTelemetry's variables that a field of its own stands for. Those about traces are stronger than those about all signals.
const HEADERS: [&str; 2] = ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"];
const CERTIFICATE: [&str; 2] = ["OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE"];
const CLIENT_CERTIFICATE: [&str; 2] =
    ["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE"];
const CLIENT_KEY: [&str; 2] = ["OTEL_EXPORTER_OTLP_CLIENT_KEY", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"];

/// The variable whose value is in the Secret for headers.
pub(crate) const OF_HEADERS: &str = HEADERS[0];

/// The variables of receivers and workers, but for what is secret.
pub fn environment(tracing: &Tracing) -> BTreeMap<String, String> {
    let Tracing { environment, ca_config_map_name, client_secret_name, .. } = tracing;
    let file = |[name, _]: [&str; 2], folder: &str, key: &str| (name.to_owned(), format!("{folder}/{key}"));
    let mut all = environment.clone();
    if ca_config_map_name.is_some() {
        all.extend([file(CERTIFICATE, wire::TRACING_CA_FOLDER, "ca.crt")]);
    }
    if client_secret_name.is_some() {
        all.extend([
            file(CLIENT_CERTIFICATE, wire::TRACING_CLIENT_FOLDER, "tls.crt"),
            file(CLIENT_KEY, wire::TRACING_CLIENT_FOLDER, "tls.key"),
        ]);
    }
    all
}

/// What is said twice, for people.
pub fn complaints(tracing: &Tracing) -> Vec<String> {
    let Tracing { environment, headers_secret_name, ca_config_map_name, client_secret_name } = tracing;
    let fields = [
        ("headersSecretName", headers_secret_name, HEADERS),
        ("caConfigMapName", ca_config_map_name, CERTIFICATE),
        ("clientSecretName", client_secret_name, CLIENT_CERTIFICATE),
        ("clientSecretName", client_secret_name, CLIENT_KEY),
    ];
    let said = fields.into_iter().filter(|(_, name, _)| name.is_some());
    let twice = said.flat_map(|(field, _, variables)| variables.map(|variable| (field, variable)));
    let twice = twice.filter(|(_, variable)| environment.contains_key(*variable));
    twice.map(|(field, variable)| format!("{variable} stands in environment and comes from {field}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracing(yaml: &str) -> Tracing {
        serde_saphyr::from_str(yaml).unwrap()
    }

    #[test]
    fn what_is_mounted_is_named_by_opentelemetrys_variables() {
        let plain = tracing("{environment: {OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c:4318'}, headersSecretName: otlp}");
        assert_eq!(environment(&plain), plain.environment);
        let all = tracing(
            "{environment: {OTEL_EXPORTER_OTLP_ENDPOINT: 'https://c:4318'}, caConfigMapName: ca, clientSecretName: own}",
        );
        let expected = [
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/sluice/tracing/ca/ca.crt"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/etc/sluice/tracing/client/tls.crt"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/etc/sluice/tracing/client/tls.key"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(environment(&all), BTreeMap::from(expected));
        assert_eq!(complaints(&plain), Vec::<String>::new());
        assert_eq!(complaints(&all), Vec::<String>::new());
    }

    #[test]
    fn a_variable_beside_the_field_that_stands_for_it_is_told() {
        let environment = "environment: {OTEL_EXPORTER_OTLP_HEADERS: 'a=b', OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE: /ca, \
                           OTEL_EXPORTER_OTLP_CLIENT_KEY: /key}";
        let told = complaints(&tracing(&format!(
            "{{{environment}, headersSecretName: otlp, caConfigMapName: ca, clientSecretName: own}}"
        )));
        let expected = [
            "OTEL_EXPORTER_OTLP_HEADERS stands in environment and comes from headersSecretName",
            "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE stands in environment and comes from caConfigMapName",
            "OTEL_EXPORTER_OTLP_CLIENT_KEY stands in environment and comes from clientSecretName",
        ];
        assert_eq!(told, expected);
        assert_eq!(complaints(&tracing(&format!("{{{environment}}}"))), Vec::<String>::new());
    }
}
