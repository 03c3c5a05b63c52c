//! What a lease says, and what to write into it. Pure: times are given, as durations since boot.

use std::time::Duration;

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::ResourceExt;

use super::LEASE;

/// Who is about to write, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The replica.
    pub identity: &'a str,
    /// The wall clock, for people.
    pub now: Timestamp,
}

/// The newest version of the lease that was seen, and when it was seen first what its holder has written into it.
#[derive(Debug, Default)]
pub struct Sight {
    newest: Option<(Lease, Duration)>,
}

impl Sight {
    /// Takes what was read at `now`. Each renewal is another time in the lease. What others note on it, as a label, renews nothing: it would last as
    /// long as somebody does so.
    pub fn see(&mut self, lease: Lease, now: Duration) {
        let known = self.newest.as_ref().filter(|(seen, _)| seen.spec == lease.spec);
        let since = known.map_or(now, |(_, since)| *since);
        self.newest = Some((lease, since));
    }

    /// How long it cannot be taken yet.
    pub fn taken_for(&self, now: Duration) -> Duration {
        match &self.newest {
            Some((lease, since)) if holder(lease).is_some() => (*since + duration(lease)).saturating_sub(now),
            _ => Duration::ZERO,
        }
    }

    /// Its version.
    pub fn version(&self) -> String {
        self.newest.as_ref().and_then(|(lease, _)| lease.resource_version()).unwrap_or_default()
    }

    /// Who holds it.
    pub fn holder(&self) -> Option<&str> {
        self.newest.as_ref().and_then(|(lease, _)| holder(lease))
    }
}

/// Who holds the lease, if anybody does.
pub fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref().filter(|holder| !holder.is_empty())
}

/// When its holder wrote it last, by that one's wall clock.
pub fn renewed_at(lease: &Lease) -> Option<Timestamp> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0)
}

/// How long it lasts: what its holder promised, not what this replica would.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(LEASE, Duration::from_secs)
}

/// The lease as its new holder writes it, over `before` where there is one.
pub fn taken(before: Option<&Lease>, writer: Writer<'_>) -> Lease {
    let mut lease = before.cloned().unwrap_or_default();
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions);
    lease.spec = Some(LeaseSpec {
        acquire_time: Some(MicroTime(writer.now)),
        lease_transitions: Some(transitions.map_or(0, |count| count.saturating_add(1))),
        ..held(writer)
    });
    lease
}

/// The lease as its holder renews it.
pub fn renewed(before: &Lease, writer: Writer<'_>) -> Lease {
    let mut lease = before.clone();
    let spec = lease.spec.take().unwrap_or_default();
    lease.spec =
        Some(LeaseSpec { acquire_time: spec.acquire_time, lease_transitions: spec.lease_transitions, ..held(writer) });
    lease
}

/// The lease as its holder gives it back: whoever sees it may take it at once.
pub fn given_back(before: &Lease, writer: Writer<'_>) -> Lease {
    let mut lease = renewed(before, writer);
    let spec = lease.spec.get_or_insert_default();
    spec.holder_identity = Some(String::new());
    spec.lease_duration_seconds = Some(1);
    lease
}

fn held(writer: Writer<'_>) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(writer.identity.to_owned()),
        lease_duration_seconds: Some(LEASE.as_secs().try_into().expect("a lease is short")),
        renew_time: Some(MicroTime(writer.now)),
        ..LeaseSpec::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn writer(identity: &str) -> Writer<'_> {
        Writer { identity, now: Timestamp::from_second(1).unwrap() }
    }

    fn versioned(mut lease: Lease, version: &str) -> Lease {
        lease.metadata.resource_version = Some(version.to_owned());
        lease
    }

    #[test]
    fn a_lease_lasts_from_when_its_newest_renewal_was_seen_first() {
        let mut sight = Sight::default();
        assert_eq!(sight.taken_for(at(0)), Duration::ZERO, "nobody has taken it yet");
        let lease = versioned(taken(None, writer("a")), "1");
        sight.see(lease.clone(), at(100));
        sight.see(lease.clone(), at(110));
        assert_eq!(sight.taken_for(at(110)), LEASE.saturating_sub(at(10)));
        let later = Writer { now: Timestamp::from_second(2).unwrap(), ..writer("a") };
        sight.see(versioned(renewed(&lease, later), "2"), at(115));
        assert_eq!(sight.taken_for(at(120)), LEASE.saturating_sub(at(5)));
        assert_eq!(sight.taken_for(at(500)), Duration::ZERO);
    }

    #[test]
    fn what_others_note_on_a_lease_renews_nothing() {
        let (mut sight, lease) = (Sight::default(), versioned(taken(None, writer("a")), "1"));
        sight.see(lease.clone(), at(100));
        let mut labelled = versioned(lease, "2");
        labelled.metadata.labels = Some([("team".to_owned(), "shop".to_owned())].into());
        sight.see(labelled, at(115));
        assert_eq!(sight.taken_for(at(115)), LEASE.saturating_sub(at(15)));
        assert_eq!(sight.version(), "2", "it is taken over that version");
    }

    #[test]
    fn a_lease_that_was_given_back_can_be_taken_at_once() {
        let mut sight = Sight::default();
        sight.see(versioned(given_back(&taken(None, writer("a")), writer("a")), "2"), at(100));
        assert_eq!((sight.taken_for(at(100)), sight.holder()), (Duration::ZERO, None));
    }

    #[test]
    fn a_lease_is_written_over_the_version_that_was_seen_and_counts_its_holders() {
        let first = versioned(taken(None, writer("a")), "7");
        let second = taken(Some(&first), writer("b"));
        assert_eq!((second.resource_version().as_deref(), holder(&second)), (Some("7"), Some("b")));
        let transitions = |lease: &Lease| lease.spec.as_ref().unwrap().lease_transitions;
        assert_eq!((transitions(&first), transitions(&second)), (Some(0), Some(1)));
        assert_eq!(renewed(&second, writer("b")), second, "only the time changes");
        let given_back = given_back(&second, writer("b"));
        assert_eq!((renewed_at(&given_back), renewed_at(&Lease::default())), (Some(writer("b").now), None));
    }
}
