//! W3C Trace Context: the headers in which a trace goes from program to program.

use opentelemetry::{
    Context,
    propagation::{Extractor, TextMapPropagator as _},
    trace::{SpanContext, TraceContextExt as _, TraceFlags},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;

const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";
/// The headers' names.
pub const TRACE_HEADERS: [&str; 2] = [PARENT, STATE];

/// Where in a trace something stands: which span is its parent, and whether it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext(pub(super) SpanContext);

/// The headers as they came.
struct Carrier<'a> {
    parent: &'a str,
    state: String,
}

impl TraceContext {
    /// What headers say, of which `values` gives all of one name; `None` where that is nothing, or nothing that W3C knows.
    pub fn read<'a, V>(values: impl Fn(&'static str) -> V) -> Option<Self>
    where
        V: Iterator<Item = &'a [u8]>,
    {
        let parent = str::from_utf8(values(PARENT).last()?).ok().filter(|parent| is_parent(parent.trim()))?;
        let states = values(STATE).filter_map(|state| str::from_utf8(state).ok());
        let states: Vec<_> = states.filter(|state| state.bytes().all(is_printable)).collect();
        let carrier = Carrier { parent, state: states.join(",") };
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
        let span = context.span().span_context().clone();
        span.is_valid().then_some(Self(span))
    }

    /// The headers that say it, by name.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Self(span) = self;
        let flags = span.trace_flags() & TraceFlags::SAMPLED;
        let parent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
        let state = Some(span.trace_state().header()).filter(|state| !state.is_empty());
        [(PARENT, parent)].into_iter().chain(state.map(|state| (STATE, state)))
    }

    /// The same, as the library passes it on.
    pub(super) fn to_context(&self) -> Context {
        Context::new().with_remote_span_context(self.0.clone())
    }
}

/// Whether a `traceparent` has the form of W3C's: the library takes numbers of any length, and with a sign.
fn is_parent(text: &str) -> bool {
    const LENGTHS: [usize; 4] = [2, 32, 16, 2];
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut parts = text.split('-');
    let is_next = |length| parts.next().is_some_and(|part| part.len() == length && part.bytes().all(is_digit));
    let is_whole = LENGTHS.into_iter().all(is_next);
    // Later versions may go on.
    is_whole && (parts.next().is_none() || !text.starts_with("00-"))
}

/// What a `tracestate` may hold: the library looks only for what separates its members.
fn is_printable(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~')
}

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            PARENT => Some(self.parent),
            STATE => Some(&self.state),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        TRACE_HEADERS.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A name, and any bytes.
    type Header = (&'static str, Vec<u8>);

    fn read_bytes(headers: &[Header]) -> Option<TraceContext> {
        let values = |name| headers.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_slice());
        TraceContext::read(values)
    }

    /// A `traceparent`, one that was damaged, or anything.
    fn parent() -> impl Strategy<Value = Vec<u8>> {
        let whole = || {
            let parts = (any::<u8>(), any::<u128>(), any::<u64>(), any::<u8>());
            let parts = prop_oneof![parts, parts.prop_map(|(_, trace, span, flags)| (0_u8, trace, span, flags))];
            parts.prop_map(|(version, trace, span, flags)| {
                format!("{version:02x}-{trace:032x}-{span:016x}-{flags:02x}").into_bytes()
            })
        };
        let damaged = (whole(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut whole, place, byte)| {
            *place.get_mut(&mut whole) = byte;
            whole
        });
        prop_oneof![whole(), damaged, vec(any::<u8>(), 0..80)]
    }

    /// A `tracestate`, or anything.
    fn state() -> impl Strategy<Value = Vec<u8>> {
        let members = vec("[a-z0-9@_*/-]{0,9}=[ -~]{0,9}", 0..40).prop_map(|members| members.join(",").into_bytes());
        prop_oneof![members, "[ -~\t]{0,80}".prop_map(String::into_bytes), vec(any::<u8>(), 0..80)]
    }

    proptest! {
        #[test]
        fn whatever_headers_say_what_is_taken_can_stand_in_headers_and_says_the_same(
            parents in vec(parent(), 0..3), states in vec(state(), 0..3),
        ) {
            let parents = parents.into_iter().map(|parent| (PARENT, parent));
            let headers: Vec<Header> = parents.chain(states.into_iter().map(|state| (STATE, state))).collect();
            if let Some(context) = read_bytes(&headers) {
                let written: Vec<Header> = context.headers().map(|(name, value)| (name, value.into_bytes())).collect();
                prop_assert!(written.iter().flat_map(|(_, value)| value).copied().all(is_printable));
                prop_assert_eq!(written[0].1.len(), TRACEPARENT.len());
                prop_assert_eq!(read_bytes(&written), Some(context));
            }
        }

        #[test]
        fn every_trace_of_the_present_version_is_taken(trace in 1..=u128::MAX, span in 1..=u64::MAX, flags: u8) {
            let parent = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let expected = format!("00-{trace:032x}-{span:016x}-{:02x}", flags & 1);
            let written = read(&[(PARENT, parent.as_str())]).and_then(|context| context.headers().next());
            prop_assert_eq!(written, Some((PARENT, expected)));
        }
    }

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(headers: &[(&str, &str)]) -> Option<TraceContext> {
        let values = |name| headers.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_bytes());
        TraceContext::read(values)
    }

    #[test]
    fn a_trace_comes_out_as_it_went_in() {
        let unsampled = TRACEPARENT.replace("-01", "-00");
        for headers in [
            vec![(PARENT, TRACEPARENT)],
            vec![(PARENT, unsampled.as_str())],
            vec![(PARENT, TRACEPARENT), (STATE, "a=1,b=2")],
        ] {
            let written: Vec<_> = read(&headers).unwrap().headers().collect();
            let written: Vec<_> = written.iter().map(|(name, value)| (*name, value.as_str())).collect();
            assert_eq!(written, headers);
        }
        let states: Vec<_> =
            read(&[(STATE, "a=1"), (PARENT, TRACEPARENT), (STATE, "b=2")]).unwrap().headers().collect();
        assert_eq!(states[1], (STATE, "a=1,b=2".to_owned()));
    }

    #[test]
    fn what_is_no_trace_context_begins_no_trace() {
        let zeros = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
        let signed = TRACEPARENT.replace("-4b", "-+4");
        for parent in ["", "00-1", "x", &zeros, &TRACEPARENT.to_uppercase(), "00-1-1-01", &signed] {
            assert_eq!(read(&[(PARENT, parent), (STATE, "a=1")]), None, "{parent}");
        }
        assert_eq!(read(&[(STATE, "a=1")]), None);
    }

    #[test]
    fn a_state_that_cannot_stand_in_a_header_is_left_out() {
        let read = read(&[(PARENT, TRACEPARENT), (STATE, "a=1"), (STATE, "b=x\r\ny"), (STATE, "c=gr\u{fc}n")]).unwrap();
        assert_eq!(read.headers().nth(1), Some((STATE, "a=1".to_owned())));
    }
}
