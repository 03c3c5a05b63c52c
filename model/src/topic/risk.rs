//! Which changes of a Kafka topic may cost somebody records or order, and therefore wait for approval.

use std::collections::{BTreeMap, BTreeSet};

use super::{Held, Observed, Stakes, Usage, Wanted};

const RETENTION_TIME: &str = "retention.ms";
const RETENTION_SIZE: &str = "retention.bytes";
const CLEANUP: &str = "cleanup.policy";

/// The risk of more partitions: Kafka's clients choose the partition by the key's hash and the number of partitions.
pub fn of_growth(users: &[Usage]) -> Option<String> {
    let ordered: BTreeSet<String> =
        users.iter().filter(|usage| usage.orders_by_key()).map(|usage| usage.user.to_string()).collect();
    let ordered: Vec<String> = ordered.into_iter().collect();
    (!ordered.is_empty()).then(|| {
        format!(
            "records with the same key would go to other partitions than before, and these rely on their order: {}",
            ordered.join(", ")
        )
    })
}

/// The risk of another value of a setting. `to` is `None` where it returns to the broker's default.
pub fn of_setting(key: &str, to: Option<&str>, observed: &Observed, stakes: Option<&Stakes>) -> Option<String> {
    if !deletes_more(key, to, observed, stakes) {
        return None;
    }
    let (before, after) = values(key, to, observed, stakes);
    let is_known = after.is_some();
    let known = |value: Option<&str>| value.unwrap_or("unknown").to_owned();
    let (before, after) = (known(before), known(after));
    match (key, stakes.map(|stakes| stakes.held)) {
        (_, Some(Held::Nothing)) => None,
        (RETENTION_TIME, Some(Held::Younger)) if is_known => None,
        (RETENTION_TIME, _) => {
            let kept = if before.starts_with('-') { "for ever".to_owned() } else { format!("{before} ms") };
            Some(format!("records older than {after} ms would be deleted; now they are kept {kept}"))
        }
        (RETENTION_SIZE, _) => Some(format!(
            "records may be deleted: each partition would keep {after} bytes instead of {before}, and how many it holds is \
             not known"
        )),
        _ => Some(format!("records may be deleted: the cleanup policy would be {after:?} instead of {before:?}")),
    }
}

/// Whether Kafka would delete records that it keeps now. What the broker will refuse anyway is no risk; what is not known is.
pub fn deletes_more(key: &str, to: Option<&str>, observed: &Observed, stakes: Option<&Stakes>) -> bool {
    let (before, after) = values(key, to, observed, stakes);
    match key {
        RETENTION_TIME | RETENTION_SIZE => {
            let cleanup = values(CLEANUP, None, observed, stakes).0;
            cleanup.is_none_or(|cleanup| policies(cleanup).contains("delete")) && is_shorter(before, after)
        }
        CLEANUP => match (before, after) {
            (Some(before), Some(after)) => !policies(after).is_subset(&policies(before)),
            _ => true,
        },
        _ => false,
    }
}

/// Another setting on which the risk of this one depends.
pub fn depends_on(key: &str) -> Option<&'static str> {
    [RETENTION_TIME, RETENTION_SIZE].contains(&key).then_some(CLEANUP)
}

/// The age in milliseconds up to which records are kept once a topic is as wanted; `None` for ever.
pub fn oldest_kept(wanted: &Wanted, inherited: &BTreeMap<String, String>) -> Option<u64> {
    wanted.config.get(RETENTION_TIME).or_else(|| inherited.get(RETENTION_TIME))?.parse().ok()
}

/// What holds now, and what would; `None` where it is not known.
fn values<'a>(
    key: &str,
    to: Option<&'a str>,
    observed: &'a Observed,
    stakes: Option<&'a Stakes>,
) -> (Option<&'a str>, Option<&'a str>) {
    let inherited = stakes.and_then(|stakes| stakes.inherited.get(key)).map(String::as_str);
    (observed.config.get(key).map(String::as_str).or(inherited), to.or(inherited))
}

/// Whether a retention is shorter than another one; any negative one is unlimited.
fn is_shorter(before: Option<&str>, after: Option<&str>) -> bool {
    let limit = |text: &str| text.parse::<i64>().ok().map(|limit| u64::try_from(limit).unwrap_or(u64::MAX));
    match (before, after) {
        (Some(before), Some(after)) => matches!((limit(before), limit(after)), (Some(b), Some(a)) if a < b),
        // Not known, so not safe.
        _ => true,
    }
}

fn policies(text: &str) -> BTreeSet<&str> {
    text.split(',').map(str::trim).filter(|policy| !policy.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Role, User, UserKind};
    use sluice_crds::NamespacedName;

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    fn observed(retention: &str) -> Observed {
        Observed {
            id: "id".into(),
            partitions: 1,
            replicas: 1,
            in_sync: None,
            config: map([(RETENTION_TIME, retention)]),
        }
    }

    fn stakes(cleanup: &str, held: Held) -> Stakes {
        let inherited = map([(RETENTION_TIME, "604800000"), (RETENTION_SIZE, "-1"), (CLEANUP, cleanup)]);
        Stakes { inherited, held }
    }

    #[test]
    fn only_what_deletes_records_that_are_there_is_a_risk() {
        let cases = [
            ("retention.ms", Some("500000"), "delete", Held::Older, true),
            ("retention.ms", Some("500000"), "delete", Held::Younger, false),
            ("retention.ms", Some("500000"), "delete", Held::Nothing, false),
            ("retention.ms", Some("500000"), "compact", Held::Older, false),
            ("retention.ms", Some("500000"), "compact,delete", Held::Older, true),
            ("retention.ms", Some("2000000"), "delete", Held::Older, false),
            ("retention.ms", Some("-1"), "delete", Held::Older, false),
            ("retention.ms", None, "delete", Held::Older, false),
            ("retention.ms", Some("soon"), "delete", Held::Older, false),
            ("retention.bytes", Some("1000"), "delete", Held::Younger, true),
            ("retention.bytes", Some("1000"), "delete", Held::Nothing, false),
            ("retention.bytes", Some("-1"), "delete", Held::Older, false),
            ("cleanup.policy", Some("compact"), "delete", Held::Younger, true),
            ("cleanup.policy", Some("compact, delete"), "compact", Held::Younger, true),
            ("cleanup.policy", Some("delete"), "compact,delete", Held::Older, false),
            ("cleanup.policy", Some("delete"), "delete", Held::Older, false),
            ("cleanup.policy", Some("compact"), "delete", Held::Nothing, false),
            ("segment.bytes", Some("1"), "delete", Held::Older, false),
        ];
        for (key, to, cleanup, held, is_risky) in cases {
            let risk = of_setting(key, to, &observed("1000000"), Some(&stakes(cleanup, held)));
            assert_eq!(risk.is_some(), is_risky, "{key} to {to:?} with {cleanup}, {held:?}: {risk:?}");
        }
    }

    #[test]
    fn a_reset_is_compared_with_what_is_inherited() {
        let kept_for_ever = observed("-1");
        assert_eq!(
            of_setting("retention.ms", None, &kept_for_ever, Some(&stakes("delete", Held::Older))).unwrap(),
            "records older than 604800000 ms would be deleted; now they are kept for ever"
        );
    }

    #[test]
    fn a_default_that_is_not_known_is_not_safe() {
        let nothing_is_inherited = Stakes { inherited: BTreeMap::new(), held: Held::Younger };
        assert!(of_setting("retention.ms", None, &observed("-1"), Some(&nothing_is_inherited)).is_some());
    }

    #[test]
    fn what_is_not_known_is_not_safe_and_has_to_be_asked_for() {
        let cases = [
            ("segment.bytes", Some("1"), false),
            ("retention.ms", Some("2000000"), false),
            ("retention.ms", Some("5"), true),
            ("retention.ms", None, true),
            ("retention.bytes", Some("5"), true),
            ("cleanup.policy", Some("compact"), true),
        ];
        for (key, to, expected) in cases {
            assert_eq!(deletes_more(key, to, &observed("1000000"), None), expected, "{key} to {to:?}");
            assert_eq!(of_setting(key, to, &observed("1000000"), None).is_some(), expected, "{key} to {to:?}");
        }
    }

    #[test]
    fn growth_is_a_risk_to_those_who_order_by_key() {
        let usage = |name: &str, role| {
            let name = NamespacedName { namespace: "shop".into(), name: name.into() };
            Usage { user: User { kind: UserKind::Integration, name }, role }
        };
        assert_eq!(of_growth(&[usage("a", Role::DeadLetters), usage("b", Role::Source { by_key: false })]), None);
        let risk = of_growth(&[usage("a", Role::Source { by_key: true })]).unwrap();
        assert!(risk.ends_with("Integration/shop/a"), "{risk}");
    }
}
