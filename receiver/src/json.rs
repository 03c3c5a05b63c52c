//! JSON that is looked at without making a value of it, which takes up to a hundred times as much memory. Pure.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, MapAccess, SeqAccess, Visitor},
};

/// How many times its size JSON takes as a value, at most: `[{"":0},{"":0}]`.
pub(crate) const WORST: usize = 128;
/// What a value takes in bytes in a list, which grows by doubling.
const ITEM: usize = 64;
/// The least that a text takes.
const TEXT: usize = 16;
/// What the members of an object take: a node for up to 11 of them; with more, nodes that are half full.
const NODE: usize = 640;
const IN_NODE: usize = 11;
const MEMBER: usize = 128;

/// The text or whole number at a place (RFC 6901). Other numbers are rounded when they are read: two of them might look the same.
/// What is no JSON has nothing to find.
pub(crate) fn text_at(body: &[u8], pointer: &str) -> Option<String> {
    look(body, Some(&steps(pointer)?)).ok()?.found
}

/// About what a body takes in memory as a value, in bytes, and rather more than less. What is no JSON becomes none.
pub(crate) fn weight(body: &[u8]) -> usize {
    look(body, None).map_or(0, |seen| seen.weight)
}

/// The steps of a pointer; none of what is no pointer.
fn steps(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let steps = pointer.strip_prefix('/')?.split('/');
    Some(steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// A step as a place in a list.
fn index(step: &str) -> Option<usize> {
    let is_other = step.starts_with('+') || (step.starts_with('0') && step.len() > 1);
    if is_other { None } else { step.parse().ok() }
}

fn look(body: &[u8], steps: Option<&[String]>) -> Result<Seen, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let seen = Look { steps }.deserialize(&mut json)?;
    json.end()?;
    Ok(seen)
}

/// What was seen of a value.
#[derive(Default)]
struct Seen {
    found: Option<String>,
    weight: usize,
}

/// Looks at a value.
#[derive(Clone, Copy)]
struct Look<'p> {
    /// The steps from here to the place; `None` where it does not lie here.
    steps: Option<&'p [String]>,
}

impl<'p> Look<'p> {
    fn is_there(self) -> bool {
        self.steps.is_some_and(<[String]>::is_empty)
    }

    /// The next step, and those behind it.
    fn ahead(self) -> Option<(&'p str, &'p [String])> {
        let (step, rest) = self.steps?.split_first()?;
        Some((step.as_str(), rest))
    }

    fn whole_number(self, number: impl fmt::Display) -> Seen {
        Seen { found: self.is_there().then(|| number.to_string()), weight: 0 }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = Seen;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Seen, E> {
        Ok(self.whole_number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Seen, E> {
        Ok(self.whole_number(number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_str<E>(self, text: &str) -> Result<Seen, E> {
        Ok(Seen { found: self.is_there().then(|| text.to_owned()), weight: text.len().max(TEXT) })
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        Ok(Seen::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Seen, A::Error> {
        let target = self.ahead().and_then(|(step, rest)| Some((index(step)?, rest)));
        let (mut seen, mut place) = (Seen::default(), 0);
        loop {
            let steps = target.filter(|(index, _)| *index == place).map(|(_, rest)| rest);
            let Some(item) = items.next_element_seed(Look { steps })? else { return Ok(seen) };
            seen.weight += ITEM + item.weight;
            seen.found = seen.found.or(item.found);
            place += 1;
        }
    }

    /// Of members with the same name the last one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Seen, A::Error> {
        let target = self.ahead();
        let (mut seen, mut count) = (Seen::default(), 0);
        while let Some(name) = members.next_key_seed(Name { wanted: target.map(|(step, _)| step) })? {
            let steps = target.filter(|_| name.is_wanted).map(|(_, rest)| rest);
            let value = members.next_value_seed(Look { steps })?;
            seen.weight += name.length.max(TEXT) + value.weight;
            if name.is_wanted {
                seen.found = value.found;
            }
            count += 1;
        }
        seen.weight += match count {
            0 => 0,
            1..=IN_NODE => NODE,
            more => more * MEMBER,
        };
        Ok(seen)
    }
}

/// Looks at the name of a member.
struct Name<'p> {
    wanted: Option<&'p str>,
}

/// What was seen of a name.
struct SeenName {
    is_wanted: bool,
    length: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = SeenName;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SeenName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = SeenName;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<SeenName, E> {
        Ok(SeenName { is_wanted: self.wanted == Some(text), length: text.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_at_a_place_is_found() {
        for (body, pointer, expected) in [
            (r#"{"a": {"b": [1, "two", -3]}}"#, "/a/b/1", Some("two")),
            (r#"{"a": {"b": [1, "two", -3]}}"#, "/a/b/2", Some("-3")),
            (r#"{"a": {"b": [1, "two", -3]}}"#, "/a/b/01", None),
            (r#"{"a": {"b": [1, "two", -3]}}"#, "/a/b/3", None),
            (r#"{"a": {"b": [1, "two", -3]}}"#, "/a/b", None),
            (r#"{"a/b": {"~": "x"}, "": "y"}"#, "/a~1b/~0", Some("x")),
            (r#"{"a/b": {"~": "x"}, "": "y"}"#, "/", Some("y")),
            (r#""whole""#, "", Some("whole")),
            (r#"{"\u0061": "escaped"}"#, "/a", Some("escaped")),
            // As a value would have it.
            (r#"{"a": 1, "a": 2}"#, "/a", Some("2")),
            (r#"{"a": {"b": 1}, "a": 2}"#, "/a/b", None),
            (r#"{"a": 1.0}"#, "/a", None),
            (r#"{"a": 1} x"#, "/a", None),
            (r#"{"a": 1, "b": 1e999}"#, "/a", None),
            (r#"{"a": 1}"#, "a", None),
        ] {
            assert_eq!(text_at(body.as_bytes(), pointer).as_deref(), expected, "{body} {pointer}");
        }
    }

    #[test]
    fn no_json_weighs_more_than_the_worst_and_a_usual_one_much_less() {
        for (piece, least, most) in [
            (r#"{"":0}"#, 80, WORST),
            ("[]", 20, 30),
            ("0", 30, 40),
            (r#"{"id": 4711, "customer": "c-1", "amount": 12.5, "currency": "eur", "paid": true}"#, 5, 15),
            (r#""text that goes on for a while, as bodies do""#, 0, 4),
        ] {
            let body = format!("[{}]", vec![piece; 1000].join(","));
            let times = weight(body.as_bytes()) / body.len();
            assert!((least..=most).contains(&times), "{piece}: {times} times");
        }
        assert_eq!(weight(b"[1, 2"), 0);
        let members: Vec<_> = (0..100).map(|number| format!("\"{number}\": 0")).collect();
        assert_eq!(weight(format!("{{{}}}", members.join(",")).as_bytes()), 100 * (MEMBER + TEXT));
    }
}
