//! The words of Kubernetes, registries and programs, without what differs from one attempt to the next.

use k8s_openapi::api::{apps::v1::Deployment, core::v1::Pod};
use serde_json::Value;

/// Longer texts are cut: a condition's message is for reading.
const LONGEST: usize = 400;

/// What a Deployment's template says about names and limits.
pub(super) struct Wording {
    /// Where something is mounted, and what: `Secret "payments-signing"`.
    mounts: Vec<(String, String)>,
    /// The containers' memory limits.
    limits: Vec<(String, String)>,
}

impl Wording {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let Some(pod) = deployment.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()) else {
            return Self { mounts: Vec::new(), limits: Vec::new() };
        };
        let source = |name: &str| {
            let volume = pod.volumes.iter().flatten().find(|volume| volume.name == name)?;
            let secret = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref());
            let config_map = volume.config_map.as_ref().map(|config_map| &config_map.name);
            secret
                .map(|name| format!("Secret {name:?}"))
                .or_else(|| config_map.map(|name| format!("ConfigMap {name:?}")))
        };
        let mounts = pod.containers.iter().flat_map(|container| container.volume_mounts.iter().flatten());
        let mounts = mounts.filter_map(|mount| Some((format!("{}/", mount.mount_path), source(&mount.name)?)));
        let limit = |container: &k8s_openapi::api::core::v1::Container| {
            let limits = container.resources.as_ref()?.limits.as_ref()?;
            Some((container.name.clone(), limits.get("memory")?.0.clone()))
        };
        Self { mounts: mounts.collect(), limits: pod.containers.iter().filter_map(limit).collect() }
    }

    pub(super) fn memory_limit(&self, container: &str) -> Option<&str> {
        self.limits.iter().find(|(name, _)| name == container).map(|(_, limit)| limit.as_str())
    }

    /// The text with `key "current" of the Secret "signing"` where a mounted file stands.
    pub(super) fn name_mounts(&self, text: &str) -> String {
        let mut named = short(text);
        for (path, what) in &self.mounts {
            while let Some(begin) = named.find(path) {
                let rest = &named[begin + path.len()..];
                let is_of_key =
                    |character: char| character.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&character);
                let length = rest.find(|character| !is_of_key(character)).unwrap_or(rest.len());
                // A full stop or colon after the key belongs to the sentence.
                let key = rest[..length].trim_end_matches('.');
                let replacement = format!("key {key:?} of the {what}");
                named.replace_range(begin..begin + path.len() + key.len(), &replacement);
            }
        }
        named
    }

    /// The text without the pod's own name and uid.
    pub(super) fn without_pod(&self, pod: &Pod, text: &str) -> String {
        let mut text = self.name_mounts(text);
        for own in [&pod.metadata.name, &pod.metadata.uid].into_iter().flatten() {
            text = text.replace(own.as_str(), "...");
        }
        text
    }
}

/// Why an image cannot be had.
pub(super) fn image(image: &str, reason: &str, message: &str) -> String {
    let text = message.to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let cause = if reason == "InvalidImageName" {
        "its name is not one of an image"
    } else if reason == "ErrImageNeverPull" {
        "it is not on the node, and imagePullPolicy is Never"
    } else if any(&["unauthorized", "authentication required", "denied", "forbidden", "no basic auth"]) {
        "the registry refuses it: the image does not exist there, or the pull secret does not give access"
    } else if any(&[
        "no such host",
        "connection refused",
        "i/o timeout",
        "deadline exceeded",
        "no route to host",
        "unreachable",
    ]) {
        "the registry cannot be reached from the node"
    } else if any(&["not found", "notfound", "manifest unknown"]) {
        "the registry does not have it"
    } else if any(&["x509", "certificate"]) {
        "the registry's certificate is not trusted"
    } else if any(&["toomanyrequests", "rate limit"]) {
        "the registry limits how often images are pulled"
    } else if any(&["no space left"]) {
        "the node's disk is full"
    } else {
        "`kubectl describe pod` tells why"
    };
    format!("image {image:?} cannot be pulled: {cause}")
}

/// What a full quota lacks; `None` where the text is about something else. How much others use changes and is left out.
pub(super) fn quota(cause: &str) -> Option<String> {
    let rest = cause.strip_prefix("exceeded quota: ")?;
    let (name, rest) = rest.split_once(", requested: ")?;
    let requested = rest.split(", used: ").next().unwrap_or_default();
    let limit = rest.split(", limited: ").nth(1).unwrap_or_default();
    Some(format!("the ResourceQuota {name:?} is used up: another pod needs {requested}, and the limit is {limit}"))
}

/// What keeps every node from taking a pod, without how many nodes there are.
pub(super) fn scheduling(message: &str) -> String {
    // "0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {a: b}. preemption: ..."
    let reasons = message.split_once(": ").map_or(message, |(_, reasons)| reasons);
    let reasons = reasons.split(" preemption: ").next().unwrap_or_default().trim().trim_end_matches('.');
    let mut reasons: Vec<&str> = reasons.split(", ").map(without_count).filter(|reason| !reason.is_empty()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    match reasons.as_slice() {
        [] => "no node takes the pod".to_owned(),
        reasons => format!("no node takes the pod: {}", short(&reasons.join(", "))),
    }
}

fn without_count(reason: &str) -> &str {
    reason.trim_start_matches(|character: char| character.is_ascii_digit()).trim_start()
}

/// The runtime's words for a limit that is too low to begin with.
pub(super) fn is_out_of_memory(message: &str) -> bool {
    message.contains("OOM-killed") || message.contains("OOMKilled")
}

/// The last line that says something, of what a program wrote before its end.
pub(super) fn last_error(said: &str) -> Option<String> {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("note: "));
    let lines: Vec<(bool, String)> = lines.map(line).collect();
    let error = lines.iter().rev().find(|(is_error, _)| *is_error).or(lines.last());
    error.map(|(_, text)| short(text)).filter(|text| !text.is_empty())
}

/// Whether a line tells of an error, and its text. Logs are JSON; what comes before and after them is not.
fn line(line: &str) -> (bool, String) {
    let Ok(Value::Object(entry)) = serde_json::from_str(line) else { return (true, line.to_owned()) };
    let text = |key: &str| entry.get(key).and_then(Value::as_str);
    let message = text("message").unwrap_or_default();
    let message = text("error").map_or_else(|| message.to_owned(), |error| format!("{message}: {error}"));
    (text("level") == Some("ERROR"), message)
}

/// One line, not too long.
pub(super) fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST { line } else { format!("{} ...", &line[..line.floor_char_boundary(LONGEST)]) }
}
