//! Who is about to ask: while others are, it pays to wait for them, and where nobody is, it does not.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

/// Those who may ask about topics soon. Clones are one company; an empty one is never waited for.
#[derive(Clone, Debug, Default)]
pub struct Company(Arc<watch::Sender<Heads>>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heads {
    present: usize,
    /// Calls that wait for an answer. Somebody who makes two at a time counts twice: then less is waited for.
    asking: usize,
}

impl Heads {
    /// Those who may still come; whoever waits for an answer does not.
    const fn coming(self) -> usize {
        self.present.saturating_sub(self.asking)
    }
}

/// Somebody who may ask, until this is dropped.
#[derive(Debug)]
#[must_use = "whoever drops it is not waited for"]
pub struct Presence(Company);

/// A call that waits for its answer, until this is dropped.
#[derive(Debug)]
pub(super) struct Asking(Company);

impl Company {
    /// Joins the company: from now on batches wait for this one's calls too, for a while.
    pub fn join(&self) -> Presence {
        self.0.send_modify(|heads| heads.present += 1);
        Presence(self.clone())
    }

    pub(super) fn asks(&self) -> Asking {
        self.0.send_modify(|heads| heads.asking += 1);
        Asking(self.clone())
    }

    /// How many may still come.
    pub(super) fn coming(&self) -> usize {
        self.0.borrow().coming()
    }

    /// Waits until that is not how many may still come.
    pub(super) fn is_not(&self, coming: usize) -> impl Future<Output = ()> + Send + use<> {
        let mut heads = self.0.subscribe();
        async move {
            // The company outlives its batches.
            let _ = heads.wait_for(|heads| heads.coming() != coming).await;
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.0.send_modify(|heads| heads.present = heads.present.saturating_sub(1));
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.send_modify(|heads| heads.asking = heads.asking.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn whoever_is_there_and_does_not_wait_for_an_answer_may_come() {
        let company = Company::default();
        let [first, _second] = [company.join(), company.clone().join()];
        assert_eq!(company.coming(), 2);
        let asking = company.asks();
        assert_eq!(company.coming(), 1);
        drop(asking);
        drop(first);
        assert_eq!(company.coming(), 1);
        let _two_at_a_time = [company.asks(), company.asks()];
        assert_eq!(company.coming(), 0);
    }

    #[test]
    fn it_is_told_when_another_number_may_come() {
        let company = Company::default();
        let _present = company.join();
        assert_eq!(company.is_not(1).now_or_never(), None);
        let _asking = company.asks();
        assert_eq!(company.is_not(1).now_or_never(), Some(()));
    }
}
