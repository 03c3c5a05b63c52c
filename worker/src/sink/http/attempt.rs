//! What a trace says of a request, by OpenTelemetry's conventions for HTTP. A query may hold a key, and the path of a template what only
//! the record may tell: neither is said.

use http::StatusCode;
use sluice_crds::wire::{HttpSinkConfig, TEMPLATE_END, TEMPLATE_START, is_template};
use sluice_pipeline::HttpRequest;
use sluice_telemetry::traces::{Beginning, Span};

/// What is called, the same for all records.
pub(super) struct Target {
    /// The path as the Integration says it, without a query.
    path: String,
    is_template: bool,
}

impl Target {
    pub(super) fn of(config: &HttpSinkConfig) -> Self {
        let path = &config.url[config.origin().len()..];
        let end = query(path).unwrap_or(path.len());
        Self { path: path[..end].to_owned(), is_template: is_template(&path[..end]) }
    }

    /// The span of a request.
    pub(super) fn attempt(&self, request: &HttpRequest) -> Beginning {
        let (method, url) = (request.method.as_str(), &request.url);
        let path = if self.is_template { "url.template" } else { "url.path" };
        let span = Beginning::client(format!("{method} {}", self.path))
            .with("http.request.method", method)
            .with("server.address", url.host_str().unwrap_or_default().to_owned())
            .with(path, self.path.clone());
        match url.port_or_known_default() {
            Some(port) => span.with("server.port", i64::from(port)),
            None => span,
        }
    }
}

/// How a request ended: with a status, or without one for a reason.
pub(super) fn answered(span: &mut Span, answer: Result<StatusCode, &str>, is_success: impl FnOnce(StatusCode) -> bool) {
    match answer {
        Ok(status) => {
            span.set("http.response.status_code", i64::from(status.as_u16()));
            if !is_success(status) {
                span.fail(|| status.as_str().to_owned());
            }
        }
        Err(code) => span.fail(|| code.to_owned()),
    }
}

/// Where the query begins. A template may have a question mark too.
fn query(path: &str) -> Option<usize> {
    let mut begin = 0;
    while let Some(at) = path[begin..].find('?').map(|at| begin + at) {
        match path[begin..at].find(TEMPLATE_START).map(|at| begin + at) {
            None => return Some(at),
            Some(template) => begin = template + path[template..].find(TEMPLATE_END)? + TEMPLATE_END.len(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_query_is_told_and_no_value_of_a_template() {
        for (url, path, is_template) in [
            ("https://ledger.example", "", false),
            ("https://ledger.example/entries?key=secret", "/entries", false),
            ("https://ledger.example?key={{ .id }}", "", false),
            ("https://ledger.example/e/{{ .id ?? 0 }}/x?k={{ .k }}", "/e/{{ .id ?? 0 }}/x", true),
            ("https://ledger.example/e/{{ .a }}{{ .b }}", "/e/{{ .a }}{{ .b }}", true),
        ] {
            let target = Target::of(&HttpSinkConfig::new(url));
            assert_eq!((target.path.as_str(), target.is_template), (path, is_template), "{url}");
        }
    }
}
