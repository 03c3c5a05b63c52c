//! A sink for tests that answers by a script.

use std::sync::Mutex;

use super::{DeliveryError, Outgoing};

/// Answers each attempt by a function of the record and the number of attempts before it.
pub(crate) struct ScriptedSink {
    #[allow(clippy::type_complexity, reason = "said once, in tests")]
    pub(crate) script: Box<dyn Fn(&Outgoing<'_>, u32) -> Result<(), DeliveryError> + Send + Sync>,
    /// Partition and offset of each attempt, and whether it was taken.
    pub(crate) attempts: Mutex<Vec<(i32, i64, bool)>>,
}

impl ScriptedSink {
    pub(crate) async fn deliver(&self, outgoing: &Outgoing<'_>) -> Result<(), DeliveryError> {
        // Others get their turn, as with a real connection.
        tokio::task::yield_now().await;
        let (partition, offset) = (outgoing.record.partition, outgoing.record.offset);
        let is_same = |(p, o, _): &&(i32, i64, bool)| (*p, *o) == (partition, offset);
        let before = self.attempts.lock().unwrap().iter().filter(is_same).count();
        // A script that panics leaves the lock to others.
        let result = (self.script)(outgoing, u32::try_from(before).unwrap());
        self.attempts.lock().unwrap().push((partition, offset, result.is_ok()));
        result
    }
}
