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
        let mut attempts = self.attempts.lock().unwrap();
        let before = attempts.iter().filter(|(p, o, _)| (*p, *o) == (partition, offset)).count();
        let result = (self.script)(outgoing, u32::try_from(before).unwrap());
        attempts.push((partition, offset, result.is_ok()));
        result
    }
}
