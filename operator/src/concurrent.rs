//! What is to be done again and again for many resources, beside each other: one that takes long holds up no others.

use std::{collections::VecDeque, future::Future, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use sluice_crds::NamespacedName;
use tokio::time::{MissedTickBehavior, interval};

/// Asks each `period` what is due, and begins it in that order, with so many under way at most; for ever. `begin` gives nothing for what need
/// not be done, as while it is under way.
pub async fn keep_on<F: Future<Output = ()>>(
    at_once: usize,
    period: Duration,
    due: impl Fn() -> VecDeque<NamespacedName>,
    begin: impl Fn(NamespacedName) -> Option<F>,
) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut waiting, mut under_way) = (VecDeque::new(), FuturesUnordered::new());
    loop {
        tokio::select! {
            _ = ticks.tick() => waiting = due(),
            Some(()) = under_way.next() => {}
        }
        while under_way.len() < at_once
            && let Some(name) = waiting.pop_front()
        {
            under_way.extend(begin(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_holds_up_no_others_and_no_more_are_under_way_than_may_be() {
        let named = |name: &str| NamespacedName { namespace: "shop".into(), name: name.into() };
        let order = RefCell::new(Vec::new());
        let order = &order;
        // Two that hang leave one of three places.
        let due = || VecDeque::from(["hangs", "hangs too", "a", "b"].map(named));
        let begin = move |name: NamespacedName| {
            let hangs = name.name.starts_with("hangs");
            if hangs && order.borrow().contains(&name.name) {
                return None;
            }
            order.borrow_mut().push(name.name);
            Some(async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
            })
        };
        timeout(Duration::from_millis(2_500), keep_on(3, Duration::from_secs(1), due, begin)).await.unwrap_err();
        assert_eq!(*order.borrow(), ["hangs", "hangs too", "a", "b", "a", "b", "a", "b"]);
    }
}
