//! What an HTTP answer means for the record that was sent.

use std::time::{Duration, SystemTime};

use reqwest::{
    StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};

use crate::retry::Failure;

/// What an answer means: `None` is success. See RFC 9110 for the codes.
pub(crate) fn failure(status: StatusCode, headers: &HeaderMap, now: SystemTime) -> Option<Failure> {
    match status.as_u16() {
        200..=299 => None,
        408 | 409 | 425 | 429 | 500..=599 => Some(Failure::Passing { retry_after: retry_after(headers, now) }),
        _ => Some(Failure::Refusal),
    }
}

/// The wait that `Retry-After` asks for, in seconds or as a date. What is neither asks for nothing.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_success_passing_or_refusals() {
        let meaning = |code| failure(StatusCode::from_u16(code).unwrap(), &HeaderMap::new(), SystemTime::UNIX_EPOCH);
        for code in [200, 201, 202, 204, 299] {
            assert_eq!(meaning(code), None, "{code}");
        }
        for code in [408, 409, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(meaning(code), Some(Failure::Passing { retry_after: None }), "{code}");
        }
        for code in [301, 302, 304, 400, 401, 403, 404, 410, 413, 415, 422, 600] {
            assert_eq!(meaning(code), Some(Failure::Refusal), "{code}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Tue, 24 Nov 2026 12:00:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("-5", None),
            ("soon", None),
            ("1.5", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            let expected = Failure::Passing { retry_after: seconds.map(Duration::from_secs) };
            assert_eq!(failure(StatusCode::SERVICE_UNAVAILABLE, &headers, now), Some(expected), "{text}");
        }
    }
}
