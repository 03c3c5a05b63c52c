//! The HTTP request that delivers a record, as far as the record decides it: method, address, query, headers.

use std::{str, sync::Arc};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sluice_crds::{
    Body, HttpMethod,
    wire::{HttpSinkConfig, is_template},
};
use url::Url;
use vrl::compiler::TypeState;

use crate::{CompileError, Part, Rejection, template::Template, work::Work};

/// The HTTP request that delivers a record, but for its body and for headers that are the same for all records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// Method of the request.
    pub method: HttpMethod,
    /// Address of the request.
    pub url: Url,
    /// Headers in which the record has a say.
    pub headers: Vec<(String, String)>,
    /// Whether the record's value is the body; else there is none.
    pub has_body: bool,
}

impl HttpRequest {
    /// The memory that it takes, about.
    pub fn size(&self) -> usize {
        self.url.as_str().len() + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// The request of a sink, compiled.
#[derive(Debug)]
pub(crate) enum Request {
    /// The same for every record.
    Fixed(Arc<HttpRequest>),
    /// Records have a say in it.
    Templated(Box<Templates>),
}

#[derive(Debug)]
pub(crate) struct Templates {
    method: Template,
    /// Scheme, host and port.
    origin: String,
    /// What stands between the slashes of the path.
    segments: Vec<Template>,
    /// The query that the address itself has.
    query: Option<Template>,
    parameters: Vec<(String, Template)>,
    headers: Vec<(String, Template)>,
    body: Body,
}

/// What needs no encoding in any part of an address stays as it is (RFC 3986, unreserved).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// A request can be made to no address beyond 64 KiB, of which a credential in the query may need some.
const LONGEST: usize = 60 * 1024;

impl Request {
    /// Compiles the templates of a sink for records of these types, or says all that is wrong with them.
    pub(crate) fn compile(sink: &HttpSinkConfig, types: &TypeState) -> Result<Self, Vec<CompileError>> {
        let templates = Templates::compile(sink, types)?;
        let example = templates.example().map_err(|error| vec![error])?;
        if templates.all().any(Template::has_programs) {
            return Ok(Self::Templated(Box::new(templates)));
        }
        Ok(Self::Fixed(Arc::new(example)))
    }

    pub(crate) fn reads_metadata(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::Templated(templates) => templates.all().any(Template::reads_metadata),
        }
    }

    /// The request for a record.
    pub(crate) fn of(&self, work: &mut Work<'_>) -> Result<Arc<HttpRequest>, Rejection> {
        match self {
            Self::Fixed(request) => Ok(Arc::clone(request)),
            Self::Templated(templates) => templates.render(work).map(Arc::new),
        }
    }
}

impl Templates {
    fn compile(sink: &HttpSinkConfig, types: &TypeState) -> Result<Self, Vec<CompileError>> {
        let mut errors = Vec::new();
        let mut compile = |field: String, text: &str, offset: usize| {
            let compiled = Template::compile(field, &text[offset..], types);
            compiled.map_err(|found| errors.extend(found.into_iter().map(|error| error.moved(text, offset)))).ok()
        };
        let method = compile("http.method".to_owned(), &sink.method, 0);
        let address = compile("http.url".to_owned(), &sink.url, sink.origin().len());
        let mut all = |part: &str, texts: Vec<(&String, &String)>| -> Vec<(String, Template)> {
            let compiled = texts
                .into_iter()
                .map(|(name, text)| Some((name.clone(), compile(format!("http.{part}[{name}]"), text, 0)?)));
            compiled.flatten().collect()
        };
        let parameters = all("query", sink.query.iter().collect());
        let headers = all("headers", sink.headers.iter().filter(|(_, text)| is_template(text)).collect());
        let (Some(method), Some(address), []) = (method, address, errors.as_slice()) else { return Err(errors) };
        let (path, query) = address.split_once('?');
        let (origin, segments) = (sink.origin().to_owned(), path.split('/'));
        Ok(Self { method, origin, segments, query, parameters, headers, body: sink.body })
    }

    fn all(&self) -> impl Iterator<Item = &Template> {
        let named = self.parameters.iter().chain(&self.headers).map(|(_, template)| template);
        self.segments.iter().chain(&self.query).chain(named).chain([&self.method])
    }

    /// A request as records give it, which shows what is wrong with every one of them.
    fn example(&self) -> Result<HttpRequest, CompileError> {
        let complaint = |field: &str, message: String| CompileError::at_start(&Part::Sink(field.to_owned()), message);
        let method = self.method.with("POST");
        let method = method_of(&method).ok_or_else(|| complaint("http.method", no_method(&method)))?;
        let segments: Vec<_> = self.segments.iter().map(|segment| segment.with("x")).collect();
        let query = self.query.iter().map(|query| query.with("x"));
        let parameters = self.parameters.iter().map(|(name, template)| parameter(name, &encoded(&template.with("x"))));
        let url = self.address(&segments, &query.chain(parameters).collect::<Vec<_>>());
        if url.contains('#') {
            return Err(complaint(
                "http.url",
                "an address that is called has no fragment; remove what follows #".to_owned(),
            ));
        }
        let url = url.parse().map_err(|error| complaint("http.url", format!("{url:?} is no address: {error}")))?;
        Ok(HttpRequest { method, url, headers: Vec::new(), has_body: self.has_body(method) })
    }

    fn render(&self, work: &mut Work<'_>) -> Result<HttpRequest, Rejection> {
        let method = required(&self.method, work, |value, text| text.push_str(value))?;
        let method =
            method_of(&method).ok_or_else(|| self.method.invalid(&format!("is wrong: {}", no_method(&method))))?;
        let segments =
            self.segments.iter().map(|segment| self::segment(segment, work)).collect::<Result<Vec<_>, _>>()?;
        let mut query = Vec::new();
        if let Some(template) = &self.query {
            query.push(required(template, work, encode)?);
        }
        for (name, template) in &self.parameters {
            let value = template.render(work, |value, text| text.push_str(value))?;
            query.extend(value.map(|value| parameter(name, &encoded(&value))));
        }
        let mut headers = Vec::new();
        for (name, template) in &self.headers {
            headers.extend(header(template, work)?.map(|value| (name.clone(), value)));
        }
        let url = self.address(&segments, &query);
        let url: Url = url.parse().map_err(|error| self.segments[0].invalid(&format!("gives no address: {error}")))?;
        if url.as_str().len() > LONGEST {
            return Err(self.segments[0].invalid(&format!("would be longer than {LONGEST} bytes with its query")));
        }
        Ok(HttpRequest { method, url, headers, has_body: self.has_body(method) })
    }

    fn has_body(&self, method: HttpMethod) -> bool {
        self.body == Body::Value && method.has_body()
    }

    fn address(&self, segments: &[String], query: &[String]) -> String {
        let mut address = format!("{}{}", self.origin, segments.join("/"));
        for (parameter, separator) in query.iter().zip(std::iter::once('?').chain(std::iter::repeat('&'))) {
            address.push(separator);
            address.push_str(parameter);
        }
        address
    }
}

/// A piece of a path. What a record makes of it must not change which part of the API is called.
fn segment(template: &Template, work: &mut Work<'_>) -> Result<String, Rejection> {
    let segment = required(template, work, encode)?;
    if template.has_programs() && matches!(&*percent_decode_str(&segment).decode_utf8_lossy(), "" | "." | "..") {
        let what = format!("would have the path segment {segment:?}, which means another address");
        return Err(template.invalid(&what));
    }
    Ok(segment)
}

/// A header's value; `None` leaves it out.
fn header(template: &Template, work: &mut Work<'_>) -> Result<Option<String>, Rejection> {
    let value = template.render(work, |value, text| text.push_str(value))?;
    match value {
        Some(value) if value.chars().any(|character| character.is_control() && character != '\t') => {
            Err(template.invalid("would hold a line break or another control character"))
        }
        value => Ok(value),
    }
}

fn required(template: &Template, work: &mut Work<'_>, write: impl Fn(&str, &mut String)) -> Result<String, Rejection> {
    template.render(work, write)?.ok_or_else(|| template.invalid("has no value: a program in it gives null"))
}

fn parameter(name: &str, value: &str) -> String {
    format!("{}={value}", encoded(name))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

fn encode(value: &str, text: &mut String) {
    text.extend(utf8_percent_encode(value, ENCODED));
}

fn method_of(name: &str) -> Option<HttpMethod> {
    HttpMethod::ALL.into_iter().find(|method| method.as_str() == name)
}

fn no_method(name: &str) -> String {
    let methods = HttpMethod::ALL.map(HttpMethod::as_str).join(", ");
    format!("{name:?} is no method of a request; there are {methods}")
}
