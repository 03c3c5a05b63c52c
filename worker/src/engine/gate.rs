//! Whether one more attempt may begin: as the circuit, the rate limit and the sink itself allow. Pure: the time comes in as an
//! argument.

use std::time::{Duration, Instant};

use sluice_crds::{Delivery, RateLimit, wire::Circuit};
use sluice_pipeline::{Rate, TokenBucket};

use super::pending::RecordKey;
use crate::breaker::Breaker;

/// What stands between a record that is ready and the sink.
#[derive(Debug)]
pub(crate) struct Gate {
    breaker: Breaker,
    rate: Option<Rate>,
    bucket: TokenBucket,
    /// The record by which it is found out whether the sink works again.
    probe: Option<RecordKey>,
    /// What the sink last failed with.
    failure: String,
    /// When the rate limit allows one more.
    held_until: Option<Instant>,
    /// Before this the sink wants nothing.
    left_alone_until: Option<Instant>,
}

/// What may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Any,
    /// One, to find out whether the sink works again.
    Probe,
    Nothing,
}

impl Gate {
    pub(crate) fn new(delivery: &Delivery) -> Self {
        Self {
            breaker: Breaker::new(delivery.circuit_breaker.clone()),
            rate: delivery.rate_limit.map(rate),
            bucket: TokenBucket::default(),
            probe: None,
            failure: String::new(),
            held_until: None,
            left_alone_until: None,
        }
    }

    /// The sink wants nothing for so long. What it asked for before stands where that is longer.
    pub(crate) fn leave_alone(&mut self, time: Duration, now: Instant) {
        self.left_alone_until = self.left_alone_until.max(Some(now + time));
    }

    /// Whether the sink wants nothing now, be the circuit closed or due for a probe.
    pub(crate) fn leaves_alone(&self, now: Instant) -> bool {
        self.left_alone_until.is_some_and(|until| now < until)
    }

    /// What may begin now. `Any` counts against the rate: it is asked for only where something does begin.
    pub(crate) fn pass(&mut self, now: Instant) -> Pass {
        if self.leaves_alone(now) {
            return Pass::Nothing;
        }
        match self.breaker.circuit(now) {
            Circuit::Closed => match self.rate.map_or(Ok(()), |rate| self.bucket.take(&rate, now)) {
                Ok(()) => Pass::Any,
                Err(wait) => {
                    self.held_until = Some(now + wait);
                    Pass::Nothing
                }
            },
            Circuit::HalfOpen if self.probe.is_none() => Pass::Probe,
            Circuit::HalfOpen | Circuit::Open => Pass::Nothing,
        }
    }

    /// This record finds out whether the sink works again.
    pub(crate) fn probe_with(&mut self, key: RecordKey) {
        self.probe = Some(key);
    }

    /// A record is no longer in hand: if it was the probe, another one takes its place.
    pub(crate) fn forget(&mut self, key: RecordKey) {
        self.probe.take_if(|probe| *probe == key);
    }

    /// An attempt ended; `failure` says what the sink failed with, a refusal shows that it works. `true`: it was the probe.
    pub(crate) fn judge(&mut self, key: RecordKey, failure: Option<&str>, now: Instant) -> bool {
        if let Some(failure) = failure {
            failure.clone_into(&mut self.failure);
        }
        let was_probe = self.probe.take_if(|probe| *probe == key).is_some();
        if was_probe {
            self.breaker.probed(failure.is_some(), now);
        } else {
            self.breaker.attempted(failure.is_some(), now);
        }
        was_probe
    }

    pub(crate) fn circuit(&mut self, now: Instant) -> Circuit {
        self.breaker.circuit(now)
    }

    /// What the sink last failed with.
    pub(crate) fn failure(&self) -> &str {
        &self.failure
    }

    /// When more may begin although nothing happens.
    pub(crate) fn wakes_at(&self, now: Instant) -> Option<Instant> {
        let held = [self.held_until, self.left_alone_until].into_iter().flatten().filter(|time| *time > now);
        held.chain(self.breaker.open_until()).min()
    }
}

fn rate(RateLimit { per_second, burst }: RateLimit) -> Rate {
    Rate::new(per_second.into(), burst.unwrap_or(per_second).into())
}
