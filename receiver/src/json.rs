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

/// Places in a body (JSON pointers, RFC 6901), all of which are found in one pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(Vec<Place>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    pointer: String,
    steps: Vec<String>,
}

/// Some of the places, a bit each.
type Set = u8;
/// An event has four names.
const MOST: usize = 8;

/// The places of a set.
fn each(set: Set) -> impl Iterator<Item = usize> {
    (0..MOST).filter(move |place| set & (1 << *place) != 0)
}

/// What stands at the places in a body.
#[derive(Debug)]
pub(crate) struct Texts<'p> {
    places: &'p [Place],
    found: Vec<Option<String>>,
}

impl Places {
    /// The places of these pointers, at most eight. What is no pointer has nothing to find.
    pub(crate) fn of<'a>(pointers: impl IntoIterator<Item = &'a str>) -> Self {
        let place = |pointer: &str| Some(Place { pointer: pointer.to_owned(), steps: steps(pointer)? });
        let places: Vec<_> = pointers.into_iter().filter_map(place).collect();
        assert!(places.len() <= MOST, "{} places do not fit in a set", places.len());
        Self(places)
    }

    /// The texts and whole numbers at the places. Other numbers are rounded when they are read: two of them might look the same.
    /// What is no JSON has nothing to find.
    pub(crate) fn texts(&self, body: &[u8]) -> Texts<'_> {
        let mut found = vec![None; self.0.len()];
        if !found.is_empty() && look(body, &self.0, &mut found).is_err() {
            found.fill(None);
        }
        Texts { places: &self.0, found }
    }
}

impl Texts<'_> {
    /// What stands at the place of this pointer.
    pub(crate) fn at(&self, pointer: &str) -> Option<&str> {
        let place = self.places.iter().position(|place| place.pointer == pointer)?;
        self.found[place].as_deref()
    }
}

/// About what a body takes in memory as a value, in bytes, and rather more than less. What is no JSON becomes none.
pub(crate) fn weight(body: &[u8]) -> usize {
    look(body, &[], &mut []).unwrap_or_default()
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

/// Finds what stands at the places; says what the whole weighs.
fn look(body: &[u8], places: &[Place], found: &mut [Option<String>]) -> Result<usize, serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let all = (0..places.len()).fold(0, |set: Set, place| set | (1 << place));
    let weight = Look { places, here: all, depth: 0, found }.deserialize(&mut json)?;
    json.end()?;
    Ok(weight)
}

/// Looks at a value, and says what it weighs.
struct Look<'p, 'f> {
    places: &'p [Place],
    /// Those that are here or further in.
    here: Set,
    /// How many of their steps lead here.
    depth: usize,
    found: &'f mut [Option<String>],
}

impl<'p> Look<'p, '_> {
    /// A value in this one, and the places that are there or further in.
    fn within(&mut self, places: Set) -> Look<'p, '_> {
        Look { places: self.places, here: places, depth: self.depth + 1, found: &mut *self.found }
    }

    /// Those whose next step is such.
    fn ahead(&self, is_such: impl Fn(&str) -> bool) -> Set {
        // Most values have nothing that is looked for.
        if self.here == 0 {
            return 0;
        }
        let leads_on = |place: &usize| self.places[*place].steps.get(self.depth).is_some_and(|step| is_such(step));
        each(self.here).filter(leads_on).fold(0, |set: Set, place| set | (1 << place))
    }

    /// A text or whole number.
    fn find(self, text: impl Fn() -> String) {
        for place in each(self.here) {
            if self.places[place].steps.len() == self.depth {
                self.found[place] = Some(text());
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_, '_> {
    type Value = usize;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_i64<E>(self, number: i64) -> Result<usize, E> {
        self.find(|| number.to_string());
        Ok(0)
    }

    fn visit_u64<E>(self, number: u64) -> Result<usize, E> {
        self.find(|| number.to_string());
        Ok(0)
    }

    fn visit_f64<E>(self, _: f64) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_str<E>(self, text: &str) -> Result<usize, E> {
        self.find(|| text.to_owned());
        Ok(text.len().max(TEXT))
    }

    fn visit_unit<E>(self) -> Result<usize, E> {
        Ok(0)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<usize, A::Error> {
        let mut weight = 0;
        for place in 0.. {
            let inside = self.ahead(|step| index(step) == Some(place));
            let Some(item) = items.next_element_seed(self.within(inside))? else { break };
            weight += ITEM + item;
        }
        Ok(weight)
    }

    /// Of members with the same name the last one counts.
    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<usize, A::Error> {
        let (mut weight, mut count) = (0, 0);
        while let Some(name) = members.next_key_seed(Name(&self))? {
            for place in each(name.inside) {
                self.found[place] = None;
            }
            weight += name.length.max(TEXT) + members.next_value_seed(self.within(name.inside))?;
            count += 1;
        }
        weight += match count {
            0 => 0,
            1..=IN_NODE => NODE,
            more => more * MEMBER,
        };
        Ok(weight)
    }
}

/// Looks at the name of a member.
struct Name<'a, 'p, 'f>(&'a Look<'p, 'f>);

/// What was seen of a name.
struct SeenName {
    /// The places in the member.
    inside: Set,
    length: usize,
}

impl<'de> DeserializeSeed<'de> for Name<'_, '_, '_> {
    type Value = SeenName;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<SeenName, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_, '_, '_> {
    type Value = SeenName;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<SeenName, E> {
        Ok(SeenName { inside: self.0.ahead(|step| step == text), length: text.len() })
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
            assert_eq!(Places::of([pointer]).texts(body.as_bytes()).at(pointer), expected, "{body} {pointer}");
        }
    }

    #[test]
    fn several_places_are_found_at_once() {
        let pointers = ["/a/0/b", "/a", "/a/1", "/c", "/c", "/a/0/b/c", "/d~1e", "no pointer"];
        let places = Places::of(pointers);
        let texts = |body: &str| {
            let texts = places.texts(body.as_bytes());
            pointers.map(|pointer| texts.at(pointer).map(str::to_owned))
        };
        let some = |text: &str| Some(text.to_owned());
        let found = texts(r#"{"c": 7, "a": [{"b": "x"}, "y", 9], "d/e": "z"}"#);
        assert_eq!(found, [some("x"), None, some("y"), some("7"), some("7"), None, some("z"), None]);
        // A member that comes again takes all that was found in the first one with it.
        let found = texts(r#"{"c": 7, "a": [{"b": "x"}, "y"], "a": "w", "c": [7]}"#);
        assert_eq!(found, [None, some("w"), None, None, None, None, None, None]);
        assert_eq!(texts(r#"{"c": 7"#), [const { None }; 8]);
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
