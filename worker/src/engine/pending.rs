//! A record that is not settled, and what is to be done with it.

use std::{sync::Arc, time::Duration};

use slotmap::new_key_type;
use sluice_pipeline::{Message, Record};
use sluice_telemetry::traces::Span;

use super::schedule::Moment;
use crate::{dead_letters::Failed, lanes::Lane, retry::Spent, sink::DeliveryError};

new_key_type! {
    /// One hold on a partition; a later one on the same partition has another key.
    pub(crate) struct HoldKey;
    /// A record that is not settled.
    pub(crate) struct RecordKey;
}

/// A record that is not settled.
pub(crate) struct Pending {
    pub(crate) hold: HoldKey,
    pub(crate) offset: i64,
    /// The memory that it takes, about.
    pub(crate) size: usize,
    pub(crate) lane: Option<Lane>,
    pub(crate) failing: Option<Failing>,
    pub(crate) task: Task,
    /// `None` while it is under way.
    pub(crate) record: Option<Record>,
    /// What its trace says of all that is done with it. It is with the record.
    pub(crate) span: Span,
}

/// What a record had spent of its retry budget, and when by the budgets' clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) spent: Spent,
    pub(crate) since: Duration,
}

/// What is to be done with a record.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Make an attempt to deliver this.
    Deliver(Message),
    /// Write its dead letter; so many attempts to do so have failed.
    Bury(Arc<Failed>, u32),
}

/// A record and what is to be done with it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) key: RecordKey,
    pub(crate) hold: HoldKey,
    pub(crate) record: Record,
    pub(crate) task: Task,
    pub(crate) span: Span,
}

/// Work that has come to its end.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) key: RecordKey,
    pub(crate) record: Record,
    pub(crate) span: Span,
    pub(crate) end: End,
}

/// What became of one piece of work.
#[derive(Debug)]
pub(crate) enum End {
    Delivered,
    Failed(DeliveryError),
    Buried,
    /// Its dead letter could not be written.
    NotBuried,
}

/// How many records are being delivered, and buried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnderWay {
    pub(crate) deliveries: usize,
    pub(crate) burials: usize,
    /// Most of each.
    most: usize,
}

impl Pending {
    pub(crate) fn new(hold: HoldKey, lane: Option<Lane>, task: Task, record: Record) -> Self {
        let size = record.memory() + task.size_beside(&record);
        let (offset, span) = (record.offset, Span::default());
        Self { hold, offset, size, lane, failing: None, task, record: Some(record), span }
    }

    /// What it has spent of its retry budget, when the budgets' clock shows this.
    pub(crate) fn spent(&self, clock: Duration) -> Option<Spent> {
        let Failing { spent, since } = self.failing?;
        Some(Spent { elapsed: spent.elapsed + clock.saturating_sub(since), ..spent })
    }

    /// One more attempt failed. Gives all that is spent.
    pub(crate) fn spend(&mut self, now: Moment, clock: Duration) -> Spent {
        let before = self.spent(clock);
        let before = before.unwrap_or(Spent { attempts: 0, elapsed: Duration::ZERO, first_failed_at: now.utc });
        let spent = Spent { attempts: before.attempts.saturating_add(1), ..before };
        self.failing = Some(Failing { spent, since: clock });
        spent
    }
}

impl Task {
    /// The memory that it takes beside that of its record.
    fn size_beside(&self, record: &Record) -> usize {
        match self {
            Self::Deliver(message) => message.memory_beside(record),
            Self::Bury(failed, _) => failed.memory(),
        }
    }
}

impl UnderWay {
    pub(crate) fn new(most: usize) -> Self {
        Self { deliveries: 0, burials: 0, most }
    }

    pub(crate) fn has_room_for_deliveries(&self) -> bool {
        self.deliveries < self.most
    }

    pub(crate) fn has_room_for_burials(&self) -> bool {
        self.burials < self.most
    }

    pub(crate) fn end(&mut self, task: &Task) {
        match task {
            Task::Deliver(_) => self.deliveries -= 1,
            Task::Bury(..) => self.burials -= 1,
        }
    }
}
