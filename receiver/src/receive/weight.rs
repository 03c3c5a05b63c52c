//! What the events of a request take of memory, beside its body. Pure.

use super::{body::EACH, judge::Judged};

/// What an attribute of a cloud event takes, beside its text.
const ATTRIBUTE: usize = 64;

/// In bytes. A request with one event that is no cloud event has that counted with its body. `carried` is what stays with each event
/// of the request's headers.
pub(super) fn of_events(events: &[Judged], carried: impl FnOnce() -> usize) -> usize {
    if let [Judged { event, .. }] = events
        && event.cloud.is_none()
    {
        return 0;
    }
    let each = EACH + carried();
    events.iter().map(|judged| each + of_attributes(judged)).sum()
}

fn of_attributes(judged: &Judged) -> usize {
    let attributes = judged.event.cloud.iter().flat_map(|event| &event.attributes);
    attributes.map(|(name, value)| ATTRIBUTE + name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::event::{CloudEvent, Event, Names};

    fn judged(attributes: Option<&[(&str, &str)]>) -> Judged {
        let cloud = attributes.map(|attributes| CloudEvent {
            attributes: attributes
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
            content_type: None,
            data: None,
        });
        let names = Names { id: "e-1".into(), event_type: None, key: None, sequence: None };
        Judged { event: Event { names, cloud }, mismatch: None }
    }

    #[test]
    fn an_event_weighs_what_becomes_of_it_and_not_what_is_counted_with_the_body() {
        assert_eq!(of_events(&[judged(None)], || panic!("nobody asks")), 0);
        assert_eq!(of_events(&[], || 100), 0);
        let attributes = [("id", "1"), ("source", "/a")];
        let event = EACH + 100 + 2 * ATTRIBUTE + "id1source/a".len();
        assert_eq!(of_events(&[judged(Some(&attributes))], || 100), event);
        assert_eq!(of_events(&[judged(Some(&attributes)), judged(Some(&[]))], || 100), event + EACH + 100);
    }
}
