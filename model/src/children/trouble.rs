//! Why pods do not become available, in words for a person: from what Kubernetes says about them, and what they say themselves.
//!
//! A retry says the same as the one before, so that no status is written for it: no name of a pod, no time, no changing count.

mod text;

use std::{path::PathBuf, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, Pod, PodCondition},
    },
    jiff::Timestamp,
};
use serde::Deserialize;
use sluice_crds::Reason;

use self::text::Wording;

/// A pod, and what it says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SeenPod {
    /// As Kubernetes knows it.
    pub pod: Pod,
    /// What its status endpoint answered; `None` where it was not asked or did not answer.
    pub says: Option<Said>,
}

/// What receivers and workers alike say about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Said {
    /// Why nothing moves.
    pub trouble: Option<String>,
    /// Files of signing secrets that cannot be used.
    pub unusable_secrets: Vec<PathBuf>,
}

/// What keeps pods from becoming available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Its class.
    pub reason: Reason,
    /// What it is, and where to look.
    pub message: String,
}

/// A container is made within seconds; after this it is worth a word.
const CREATION: Duration = Duration::from_mins(1);
/// Kubernetes waits up to 5 minutes before it starts a container again: a crash that long ago is still why it is not ready.
const CRASH: Duration = Duration::from_mins(10);
/// Who waits says for what within seconds; after this it is worth a word that a pod runs, is not ready, and says nothing.
const READINESS: Duration = Duration::from_mins(1);
/// What says why a pod does not run is asked again no more often.
const SHORTEST_LOOK: Duration = Duration::from_secs(5);
/// And no less often.
const LONGEST_LOOK: Duration = Duration::from_mins(2);

/// What keeps the pods of a Deployment from becoming available; `None` where nothing does, or not yet.
///
/// Pods of an older template do not count: they are on their way out. Of several troubles it is the one that comes first in a
/// pod's life, so that the answer does not change with their order.
pub fn trouble(deployment: &Deployment, pods: &[SeenPod], now: Timestamp) -> Option<Trouble> {
    if let Some(refused) = refused(deployment) {
        return Some(refused);
    }
    let wording = Wording::of(deployment);
    let newest = of_newest_template(pods);
    let troubles = newest.iter().filter_map(|pod| of_pod(pod, &wording, now));
    let first = troubles.min_by(|a, b| (a.stage, &a.trouble.message).cmp(&(b.stage, &b.trouble.message)));
    first.map(|found| found.trouble).or_else(|| overdue(deployment))
}

/// When to look again for what no watch tells: what a pod says about itself, and that time has passed. `None`: never.
pub fn look_again(pods: &[SeenPod], now: Timestamp) -> Option<Duration> {
    let started = pods.iter().filter(|seen| is_started(&seen.pod) && !is_ready(&seen.pod));
    let youngest = started.filter_map(|seen| age(&seen.pod, now)).min()?;
    Some((youngest / 4).clamp(SHORTEST_LOOK, LONGEST_LOOK))
}

/// Whether a pod should be asked what it waits for: it runs, and has had time to become ready.
pub fn is_worth_asking(pod: &Pod, now: Timestamp) -> bool {
    let runs = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    runs && !is_ready(pod) && age(pod, now).is_some_and(|age| age >= SHORTEST_LOOK)
}

/// How far a pod has come; an earlier stage explains the later ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Scheduling,
    Image,
    Creation,
    Run,
    Work,
    /// It is over; what came after it counts first.
    Ended,
}

struct Found {
    stage: Stage,
    trouble: Trouble,
}

fn found(stage: Stage, reason: Reason, message: String) -> Found {
    Found { stage, trouble: Trouble { reason, message } }
}

/// The API server did not let the pods be made.
fn refused(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure =
        conditions.iter().find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let message = failure.message.as_deref().unwrap_or_default();
    // Before it stands the name of the pod, another one at each attempt.
    let cause = message.split_once(" is forbidden: ").map_or(message, |(_, cause)| cause);
    Some(match text::quota(cause) {
        Some(message) => Trouble { reason: Reason::QuotaExceeded, message },
        None => {
            Trouble { reason: Reason::PodsRefused, message: format!("the pods are refused: {}", text::short(cause)) }
        }
    })
}

/// Nothing is known but that it takes too long.
fn overdue(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let overdue = conditions.iter().any(|condition| condition.type_ == "Progressing" && condition.status == "False");
    let message = "no new pod became available in time; `kubectl describe pod` may tell why".to_owned();
    overdue.then_some(Trouble { reason: Reason::Unavailable, message })
}

fn of_newest_template(pods: &[SeenPod]) -> Vec<&SeenPod> {
    const TEMPLATE: &str = "pod-template-hash";
    let template = |seen: &SeenPod| seen.pod.metadata.labels.as_ref()?.get(TEMPLATE).cloned();
    let alive = || pods.iter().filter(|seen| seen.pod.metadata.deletion_timestamp.is_none());
    let Some(newest) = alive().max_by_key(|seen| &seen.pod.metadata.creation_timestamp) else { return Vec::new() };
    alive().filter(|seen| template(seen) == template(newest)).collect()
}

fn of_pod(seen: &SeenPod, wording: &Wording, now: Timestamp) -> Option<Found> {
    let status = seen.pod.status.as_ref()?;
    if status.phase.as_deref() == Some("Failed") {
        return Some(ended(
            status.reason.as_deref().unwrap_or("Failed"),
            status.message.as_deref().unwrap_or_default(),
        ));
    }
    if let Some(unscheduled) = condition(&seen.pod, "PodScheduled").filter(|condition| condition.status == "False") {
        let message = text::scheduling(unscheduled.message.as_deref().unwrap_or_default());
        return Some(found(Stage::Scheduling, Reason::Unschedulable, message));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter(|container| !container.ready).find_map(|container| of_container(seen, container, wording, now))
}

/// The pod is over, and another one was to be made in its place.
fn ended(reason: &str, message: &str) -> Found {
    let first = message.split_inclusive(". ").next().unwrap_or_default().trim();
    match reason {
        "Evicted" => found(Stage::Ended, Reason::Evicted, format!("a pod was evicted from its node: {first}")),
        // `OutOfcpu`, `OutOfmemory`, `NodeAffinity`: the kubelet did not take what the scheduler gave it.
        _ if reason.starts_with("OutOf") || reason.starts_with("Node") => {
            found(Stage::Ended, Reason::Unschedulable, format!("a node refused a pod: {reason}"))
        }
        _ => found(Stage::Ended, Reason::CannotStart, format!("a pod ended: {reason}")),
    }
}

fn of_container(seen: &SeenPod, status: &ContainerStatus, wording: &Wording, now: Timestamp) -> Option<Found> {
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = &state.waiting {
        return of_waiting(seen, status, waiting, wording, now);
    }
    if let Some(terminated) = &state.terminated {
        return (!is_init_done(seen, status)).then(|| crashed(status, Some(terminated), wording));
    }
    if let Some(trouble) = seen.says.as_ref().and_then(|said| said.trouble.as_deref()) {
        let message = format!("{} says: {}", status.name, wording.name_mounts(trouble));
        return Some(found(Stage::Work, Reason::Blocked, message));
    }
    match last.filter(|last| last.finished_at.as_ref().is_some_and(|at| since(at.0, now) < CRASH)) {
        Some(crash) => Some(crashed(status, Some(crash), wording)),
        None => unready(seen, status, now),
    }
}

/// It runs and is not ready, for longer than it takes to begin, and nobody says why.
fn unready(seen: &SeenPod, status: &ContainerStatus, now: Timestamp) -> Option<Found> {
    let started = status.state.as_ref()?.running.as_ref()?.started_at.as_ref()?.0;
    // It may have been ready in between.
    let turned = condition(&seen.pod, "Ready").and_then(|ready| ready.last_transition_time.as_ref());
    let unready_since = turned.map_or(started, |at| at.0.max(started));
    let message = format!(
        "{} runs, but has not been ready for more than a minute and does not say why; its log and `kubectl describe pod` may tell",
        status.name
    );
    (since(unready_since, now) > READINESS).then(|| found(Stage::Work, Reason::Unavailable, message))
}

fn of_waiting(
    seen: &SeenPod,
    status: &ContainerStatus,
    waiting: &ContainerStateWaiting,
    wording: &Wording,
    now: Timestamp,
) -> Option<Found> {
    let reason = waiting.reason.as_deref().unwrap_or_default();
    let message = waiting.message.as_deref().unwrap_or_default();
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    match reason {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "ImageInspectError"
        | "RegistryUnavailable"
        | "SignatureValidationFailed" => {
            Some(found(Stage::Image, Reason::ImageUnavailable, text::image(&status.image, reason, message)))
        }
        "CrashLoopBackOff" => Some(crashed(status, last, wording)),
        // A container that ended is made anew.
        "" | "ContainerCreating" | "PodInitializing" => {
            if let Some(last) = last {
                return Some(crashed(status, Some(last), wording));
            }
            let message = format!(
                "{} is not made yet; `kubectl describe pod` tells which volume, network or image it waits for",
                status.name
            );
            (age(&seen.pod, now)? > CREATION).then(|| found(Stage::Creation, Reason::CannotStart, message))
        }
        _ if text::is_out_of_memory(message) => Some(out_of_memory(status, wording)),
        _ => {
            let message = wording.without_pod(&seen.pod, message);
            Some(found(Stage::Creation, Reason::CannotStart, format!("{} cannot start: {message}", status.name)))
        }
    }
}

fn crashed(status: &ContainerStatus, end: Option<&ContainerStateTerminated>, wording: &Wording) -> Found {
    let name = &status.name;
    let Some(end) = end else {
        return found(Stage::Run, Reason::Crashing, format!("{name} ends again and again"));
    };
    let said = end.message.as_deref().unwrap_or_default();
    if end.reason.as_deref() == Some("OOMKilled") || text::is_out_of_memory(said) {
        return out_of_memory(status, wording);
    }
    let how = match (end.signal, end.exit_code) {
        (Some(signal), _) if signal > 0 => format!("signal {signal}"),
        (_, code) => format!("exit code {code}"),
    };
    let message = match text::last_error(said) {
        Some(line) => format!("{name} ends with {how}: {}", wording.name_mounts(&line)),
        None => format!("{name} ends with {how}"),
    };
    found(Stage::Run, Reason::Crashing, message)
}

fn out_of_memory(status: &ContainerStatus, wording: &Wording) -> Found {
    let name = &status.name;
    let limit = wording.memory_limit(name).map_or_else(String::new, |limit| format!(" of {limit}"));
    let message = format!("{name} needs more memory than its limit{limit} and is killed; give it more");
    found(Stage::Run, Reason::OutOfMemory, message)
}

/// An init container that ended well has done its work.
fn is_init_done(seen: &SeenPod, status: &ContainerStatus) -> bool {
    let init = seen.pod.status.as_ref().and_then(|status| status.init_container_statuses.as_ref());
    let ended_well =
        status.state.as_ref().and_then(|state| state.terminated.as_ref()).is_some_and(|end| end.exit_code == 0);
    ended_well && init.is_some_and(|all| all.iter().any(|other| other.name == status.name))
}

/// Whether a node has taken the pod.
fn is_started(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| {
        status.container_statuses.as_ref().is_some_and(|all| !all.is_empty())
            && status.phase.as_deref() != Some("Failed")
    })
}

/// Whether the pod takes part.
pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition.status == "True")
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn age(pod: &Pod, now: Timestamp) -> Option<Duration> {
    Some(since(pod.metadata.creation_timestamp.as_ref()?.0, now))
}

fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests;
