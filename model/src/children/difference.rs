//! Where a live object differs from what Sluice says about it. What Sluice does not mention is somebody else's.

use serde_json::Value;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Path of the field: `spec.template.spec.containers[worker].image`.
    pub path: String,
    /// What is there.
    pub from: Option<String>,
    /// What should be.
    pub to: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} -> {}", self.path, self.from.as_deref().unwrap_or("none"), self.to)
    }
}

/// The fields of `desired` that `live` does not have, or has otherwise. Quantities are compared as numbers.
pub fn differences(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut found, String::new(), desired, Some(live));
    found
}

fn compare(found: &mut Vec<Difference>, path: String, desired: &Value, live: Option<&Value>) {
    match (desired, live) {
        (Value::Null, None | Some(Value::Null)) => {}
        // Kubernetes leaves out what is empty.
        (Value::Object(desired), None) if desired.is_empty() => {}
        (Value::Array(desired), None) if desired.is_empty() => {}
        (Value::Object(desired), Some(Value::Object(live))) => {
            for (key, value) in desired {
                compare(found, join(&path, key), value, live.get(key));
            }
        }
        (Value::Array(wanted), Some(Value::Array(there))) => match names(wanted).filter(|_| !is_whole(&path)) {
            Some(names) => compare_named(found, &path, &names, there),
            None if wanted.len() == there.len() => {
                for (index, (wanted, there)) in wanted.iter().zip(there).enumerate() {
                    compare(found, format!("{path}[{index}]"), wanted, Some(there));
                }
            }
            None => found.push(difference(path, desired, live)),
        },
        (desired, Some(live)) if desired == live || is_same_quantity(desired, live) => {}
        _ => found.push(difference(path, desired, live)),
    }
}

/// Kubernetes merges lists of named elements by name; an element that somebody added, such as a sidecar, stays.
fn compare_named(found: &mut Vec<Difference>, path: &str, wanted: &[(&str, &Value)], there: &[Value]) {
    for (name, element) in wanted {
        let live = there.iter().find(|live| live["name"] == *name);
        compare(found, format!("{path}[{name}]"), element, live);
    }
}

/// Whether a list has one writer, who says all of it: of an `HTTPRoute`, whose parents may be listeners of one and the same Gateway, and whose
/// backends are no others than these.
fn is_whole(path: &str) -> bool {
    path.ends_with(".parentRefs") || path.ends_with(".backendRefs")
}

fn names(elements: &[Value]) -> Option<Vec<(&str, &Value)>> {
    let named = elements.iter().map(|element| Some((element.get("name")?.as_str()?, element)));
    named.collect::<Option<Vec<_>>>().filter(|named| !named.is_empty())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn difference(path: String, desired: &Value, live: Option<&Value>) -> Difference {
    Difference { path, from: live.map(text), to: text(desired) }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_same_quantity(desired: &Value, live: &Value) -> bool {
    match (quantity(desired), quantity(live)) {
        (Some(desired), Some(live)) => (desired - live).abs() <= f64::EPSILON * desired.abs(),
        _ => false,
    }
}

/// A Kubernetes quantity, such as `500m`, `0.5` or `64Mi`, as a number.
fn quantity(value: &Value) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 13] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text,
        _ => return None,
    };
    let suffix = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = suffix.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::differences;

    #[test]
    fn what_others_added_is_no_difference() {
        let desired =
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"containers": [{"name": "worker", "image": "w:1"}]}});
        let live = json!({
            "metadata": {"labels": {"a": "1", "team": "x"}, "uid": "u"},
            "spec": {"containers": [{"name": "proxy", "image": "p"}, {"name": "worker", "image": "w:1", "stdin": false}]},
        });
        assert_eq!(differences(&desired, &live), []);
    }

    #[test]
    fn a_changed_field_is_told_by_its_path() {
        let desired =
            json!({"spec": {"replicas": 2, "containers": [{"name": "worker", "image": "w:2"}], "args": ["a"]}});
        let live = json!({"spec": {"replicas": 5, "containers": [{"name": "worker", "image": "w:1"}]}});
        let found: Vec<_> = differences(&desired, &live).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["spec.args: none -> [\"a\"]", "spec.containers[worker].image: w:1 -> w:2", "spec.replicas: 5 -> 2"]
        );
    }

    #[test]
    fn parents_and_backends_of_a_route_are_those_that_are_wanted_and_no_others() {
        let parent = |section: &str| json!({"name": "edge", "sectionName": section, "kind": "Gateway"});
        let wanted = |section: &str| json!({"name": "edge", "sectionName": section});
        let live = |parents: Vec<_>, backends: Vec<_>| json!({"spec": {"parentRefs": parents, "rules": [{"backendRefs": backends}]}});
        let backend = |name: &str| json!({"name": name});
        let both = live(vec![parent("first"), parent("second")], vec![backend("own"), backend("shared")]);
        let same = live(vec![wanted("first"), wanted("second")], vec![backend("own"), backend("shared")]);
        assert_eq!(differences(&same, &both), []);
        let fewer = live(vec![wanted("second")], vec![backend("shared")]);
        let paths: Vec<_> = differences(&fewer, &both).into_iter().map(|difference| difference.path).collect();
        assert_eq!(paths, ["spec.parentRefs", "spec.rules[0].backendRefs"]);
    }

    #[test]
    fn quantities_are_compared_as_numbers() {
        let desired = json!({"cpu": "0.5", "memory": "1Gi", "pods": "2"});
        assert_eq!(differences(&desired, &json!({"cpu": "500m", "memory": "1024Mi", "pods": 2})), []);
        assert_eq!(differences(&desired, &json!({"cpu": "501m", "memory": "1Gi", "pods": "2"})).len(), 1);
    }

    #[test]
    fn what_is_empty_may_be_left_out() {
        assert_eq!(differences(&json!({"securityContext": {}, "hostnames": []}), &json!({})), []);
    }
}
