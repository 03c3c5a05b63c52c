//! How many requests are taken: of one source and of all of them before they are verified, and of genuine ones. Pure: the time
//! is an argument. The limits are those of the Webhook; each of its receivers takes its share.
//!
//! - `source`: where a request came from.
//! - `sources`: what each source has used, in bounded memory.

mod source;
mod sources;

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;
use sluice_crds::wire::{RateConfig, RateLimits};
use sluice_pipeline::{Rate, TokenBucket};

use self::{source::Source, sources::Sources};

/// The limits of an endpoint, and what is used of them.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: RateLimits,
    sources: Mutex<Sources>,
    total: Mutex<TokenBucket>,
    genuine: Mutex<TokenBucket>,
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Of one source.
    Source,
    /// Of all requests, genuine or not.
    Total,
    /// Of genuine requests.
    Genuine,
}

/// More requests came than a limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    pub(crate) limit: Limit,
    /// How long it takes until another one is allowed.
    pub(crate) wait: Duration,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "limits.source",
            Self::Total => "limits.total",
            Self::Genuine => "limits.requestsPerSecond",
        })
    }
}

impl Limiter {
    /// Nothing is used yet.
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self { limits, sources: Mutex::default(), total: Mutex::default(), genuine: Mutex::default() }
    }

    /// Counts a request that may be anybody's. What its source has too many of is nothing to all others.
    pub(crate) fn admit(
        &self,
        peer: IpAddr,
        headers: &HeaderMap,
        receivers: u32,
        now: impl Fn() -> Instant,
    ) -> Result<(), Exceeded> {
        if let Some(limit) = &self.limits.source {
            let source = Source::of(peer, headers, limit.trusted_hops);
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = sources.take(source, &share(&limit.rate, receivers), now());
            taken.map_err(|wait| Exceeded { limit: Limit::Source, wait })?;
        }
        take(&self.total, self.limits.total.as_ref(), receivers, now)
            .map_err(|wait| Exceeded { limit: Limit::Total, wait })
    }

    /// Counts a request that is genuine.
    pub(crate) fn admit_genuine(&self, receivers: u32, now: impl Fn() -> Instant) -> Result<(), Exceeded> {
        take(&self.genuine, self.limits.genuine.as_ref(), receivers, now)
            .map_err(|wait| Exceeded { limit: Limit::Genuine, wait })
    }
}

fn take(
    bucket: &Mutex<TokenBucket>,
    limit: Option<&RateConfig>,
    receivers: u32,
    now: impl Fn() -> Instant,
) -> Result<(), Duration> {
    let Some(limit) = limit else { return Ok(()) };
    bucket.lock().unwrap_or_else(PoisonError::into_inner).take(&share(limit, receivers), now())
}

/// What one of several receivers takes.
fn share(limit: &RateConfig, receivers: u32) -> Rate {
    let receivers = f64::from(receivers.max(1));
    Rate::new(f64::from(limit.requests_per_second) / receivers, f64::from(limit.burst) / receivers)
}

#[cfg(test)]
mod tests {
    use sluice_crds::wire::SourceLimit;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn rate(burst: u32) -> RateConfig {
        RateConfig { requests_per_second: 1, burst }
    }

    fn from(address: &str) -> HeaderMap {
        [("x-forwarded-for", address)]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect()
    }

    #[test]
    fn without_limits_everything_is_admitted() {
        let (limiter, now) = (Limiter::new(RateLimits::default()), Instant::now());
        assert!((0..10_000).all(|_| limiter.admit(HERE, &HeaderMap::new(), 1, || now).is_ok()));
        assert!((0..10_000).all(|_| limiter.admit_genuine(1, || now).is_ok()));
    }

    #[test]
    fn a_source_that_sends_too_much_takes_nothing_from_the_others() {
        let source = SourceLimit { rate: rate(2), trusted_hops: 1 };
        let limits = RateLimits { source: Some(source), total: Some(rate(3)), genuine: None };
        let (limiter, now) = (Limiter::new(limits), Instant::now());
        let admit = |address: &str| limiter.admit(HERE, &from(address), 1, || now).map_err(|exceeded| exceeded.limit);
        let outcomes = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"].map(admit);
        let expected = [Ok(()), Ok(()), Err(Limit::Source), Err(Limit::Source), Ok(()), Err(Limit::Total)];
        assert_eq!(outcomes, expected);
    }

    #[test]
    fn several_receivers_share_a_limit_and_each_takes_at_least_one() {
        let limits = |burst| RateLimits { genuine: Some(rate(burst)), ..RateLimits::default() };
        for (burst, receivers, expected) in [(10, 1, 10), (10, 5, 2), (10, 100, 1), (10, 0, 10)] {
            let (limiter, now) = (Limiter::new(limits(burst)), Instant::now());
            let admitted = (0..100).filter(|_| limiter.admit_genuine(receivers, || now).is_ok()).count();
            assert_eq!(admitted, expected, "{burst} {receivers}");
        }
        let limiter = Limiter::new(limits(1));
        let now = Instant::now();
        limiter.admit_genuine(4, || now).unwrap();
        let wait = Duration::from_secs(4);
        assert_eq!(limiter.admit_genuine(4, || now), Err(Exceeded { limit: Limit::Genuine, wait }));
    }
}
