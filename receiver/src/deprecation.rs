//! What every answer says of an endpoint that is out of date. Pure.

use http::{HeaderName, HeaderValue, header};
use jiff::Timestamp;
use sluice_crds::Deprecation;

/// RFC 9745.
const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
/// RFC 8594.
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// Headers of an answer.
pub(crate) type Notices = Vec<(HeaderName, HeaderValue)>;

/// The headers that say it. Error: what is wrong, for people.
pub(crate) fn notices(deprecation: &Deprecation) -> Result<Notices, String> {
    let sunset = deprecation.sunset.as_ref().map(|sunset| (SUNSET, http_date(sunset.0)));
    let link = deprecation.documentation.as_ref().map(|page| (header::LINK, format!("<{page}>; rel=\"deprecation\"")));
    [(DEPRECATION, format!("@{}", deprecation.since.0.as_second()))]
        .into_iter()
        .chain(sunset)
        .chain(link)
        .map(|(name, text)| {
            let value = text.parse().map_err(|_| format!("{text:?} is no value for the header {name}"))?;
            Ok((name, value))
        })
        .collect()
}

/// RFC 9110, section 5.6.7.
fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Result<Vec<(String, String)>, String> {
        let notices = notices(&serde_json::from_str(json).unwrap())?.into_iter();
        Ok(notices.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect())
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn the_headers_are_those_of_the_standards() {
        // The examples of RFC 9745, section 2.1, and RFC 8594, section 3.
        let all = r#"{"since": "2023-06-30T23:59:59Z", "sunset": "2018-12-31T23:59:59Z", "documentation": "https://a.example/v1"}"#;
        let expected = [
            pair("deprecation", "@1688169599"),
            pair("sunset", "Mon, 31 Dec 2018 23:59:59 GMT"),
            pair("link", "<https://a.example/v1>; rel=\"deprecation\""),
        ];
        assert_eq!(told(all).unwrap(), expected);
        assert_eq!(told(r#"{"since": "1969-12-31T23:59:59Z"}"#).unwrap(), [pair("deprecation", "@-1")]);
    }

    #[test]
    fn what_is_no_header_is_told() {
        let told = told(r#"{"since": "2023-06-30T23:59:59Z", "documentation": "https://a.example/\n"}"#);
        assert!(told.as_ref().is_err_and(|told| told.contains("header link")), "{told:?}");
    }
}
