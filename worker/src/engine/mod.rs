//! Takes records from the source, keeps them in order, and tells the source how far they are settled.
//!
//! One task owns all of it; each record that is under way is a task of its own.

mod partition;
#[cfg(test)]
pub(crate) mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use sluice_pipeline::Record;
use tokio::{
    sync::oneshot,
    task::{JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::partition::{Limits, Partition};
use crate::{
    flow::{Flow, Outcome},
    lanes::{Lane, Lanes, lane},
    source::{Command, CommandSender, DRAIN, Event, PartitionId, Position, Source},
};

/// How often it is written down how far records are settled. A crash delivers again at most what was settled since.
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// The heart of a worker.
pub(crate) struct Engine {
    flow: Arc<Flow>,
    commands: CommandSender,
    partitions: HashMap<PartitionId, Partition>,
    lanes: Lanes<Record>,
    running: JoinSet<Finished>,
    limits: Limits,
    /// Tells one hold on a partition from a later one.
    leases: u64,
}

/// A record whose task has ended.
struct Finished {
    partition: PartitionId,
    lease: u64,
    record: Record,
    lane: Option<Lane>,
    outcome: Outcome,
}

/// Runs until the source has ended, which it does after `shutdown`. Errors: a task panicked; what it worked on is unsettled.
pub(crate) async fn run(flow: Arc<Flow>, source: Source, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Source { mut events, commands } = source;
    let mut engine = Engine::new(flow, commands);
    let mut commits = interval(COMMIT_INTERVAL);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stopping = false;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => engine.handle(event).await?,
                None => return Ok(()),
            },
            Some(finished) = engine.running.join_next() => engine.finish(finished)?,
            _ = commits.tick() => engine.commit(),
            () = shutdown.cancelled(), if !stopping => {
                info!("Stopping: records under way get up to {DRAIN:?}");
                stopping = true;
                engine.command(Command::Stop);
            }
        }
    }
}

impl Engine {
    fn new(flow: Arc<Flow>, commands: CommandSender) -> Self {
        let limits = Limits::new(flow.delivery.max_in_flight);
        Self {
            flow,
            commands,
            partitions: HashMap::new(),
            lanes: Lanes::default(),
            running: JoinSet::new(),
            limits,
            leases: 0,
        }
    }

    async fn handle(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Assigned(partitions) => self.assign(partitions),
            Event::Records(records) => self.receive(records),
            Event::Reached(positions) => self.reach(&positions),
            Event::Revoked(partitions, settled) => return self.revoke(&partitions, settled).await,
            Event::Lost(partitions) => drop(self.release(&partitions)),
            Event::CommitFailed => self.partitions.values_mut().for_each(|partition| partition.committed = None),
        }
        Ok(())
    }

    fn assign(&mut self, partitions: Vec<PartitionId>) {
        for id in partitions {
            info!(partition = %id, "Partition assigned");
            self.leases += 1;
            self.partitions.insert(id, Partition::new(self.leases));
        }
        self.count_partitions();
    }

    fn receive(&mut self, records: Vec<Record>) {
        for record in records {
            let id = PartitionId { topic: Arc::clone(&record.topic), partition: record.partition };
            let Some(partition) = self.partitions.get_mut(&id) else {
                debug!(partition = %id, offset = record.offset, "Record of a partition that is not ours");
                continue;
            };
            if partition.begin(&record).is_err() {
                debug!(partition = %id, offset = record.offset, "Record read twice");
                continue;
            }
            self.flow.status.received(1);
            if partition.should_pause(&self.limits) {
                partition.paused = true;
                self.command(Command::Pause(id.clone()));
            }
            self.enter(&id, record);
        }
    }

    /// Starts a record, or lets it wait for those before it.
    fn enter(&mut self, id: &PartitionId, record: Record) {
        match lane(self.flow.delivery.ordering, id, &record) {
            None => self.start(id, record, None),
            Some(lane) => {
                if let Some(record) = self.lanes.enter(&lane, record) {
                    self.start(id, record, Some(lane));
                }
            }
        }
    }

    fn start(&mut self, id: &PartitionId, record: Record, lane: Option<Lane>) {
        let Some(partition) = self.partitions.get_mut(id) else { return };
        partition.running += 1;
        let (flow, lease, number) = (Arc::clone(&self.flow), partition.lease.clone(), partition.number);
        let partition = id.clone();
        self.running.spawn(async move {
            let outcome = flow.process(&record, &lease).await;
            Finished { partition, lease: number, record, lane, outcome }
        });
    }

    fn finish(&mut self, finished: Result<Finished, JoinError>) -> anyhow::Result<()> {
        let Finished { partition: id, lease, record, lane, outcome } = finished.context("a delivery panicked")?;
        let Some(partition) = self.partitions.get_mut(&id).filter(|partition| partition.number == lease) else {
            return Ok(());
        };
        partition.running -= 1;
        if outcome != Outcome::Abandoned {
            partition.settle(&record);
            self.flow.status.settled(outcome);
        }
        if partition.may_resume(&self.limits) {
            partition.paused = false;
            self.command(Command::Resume(id.clone()));
        }
        if let Some(lane) = lane
            && let Some(next) = self.lanes.leave(&lane)
        {
            self.start(&id, next, Some(lane));
        }
        Ok(())
    }

    fn reach(&mut self, positions: &[Position]) {
        for Position { partition, offset } in positions {
            if let Some(partition) = self.partitions.get_mut(partition) {
                partition.offsets.reach(*offset);
            }
        }
    }

    fn commit(&mut self) {
        let positions: Vec<_> = self
            .partitions
            .iter_mut()
            .filter_map(|(id, partition)| Some(Position { partition: id.clone(), offset: partition.next_commit()? }))
            .collect();
        if !positions.is_empty() {
            self.command(Command::Commit(positions));
        }
    }

    /// Lets what is under way come to its end, within [`DRAIN`], and gives the partitions back.
    async fn revoke(&mut self, ids: &[PartitionId], settled: oneshot::Sender<Vec<Position>>) -> anyhow::Result<()> {
        for id in ids {
            let Some(Partition { lease, .. }) = self.partitions.get(id) else { continue };
            lease.drain();
            self.lanes.drop_waiting(id, |record| !lease.may_still_begin(record.offset));
        }
        let deadline = Instant::now() + DRAIN;
        while self.running_in(ids) > 0 {
            match timeout_at(deadline, self.running.join_next()).await {
                Ok(Some(finished)) => self.finish(finished)?,
                Ok(None) => break,
                Err(_elapsed) => {
                    warn!(
                        records = self.running_in(ids),
                        "Records given back before they were settled: the sink is slow"
                    );
                    break;
                }
            }
        }
        let positions = self.release(ids);
        // A source that no longer listens is gone, and its partitions with it.
        drop(settled.send(positions));
        Ok(())
    }

    fn running_in(&self, ids: &[PartitionId]) -> usize {
        ids.iter().filter_map(|id| self.partitions.get(id)).map(|partition| partition.running).sum()
    }

    /// Ends the hold on partitions; says how far they were settled.
    fn release(&mut self, ids: &[PartitionId]) -> Vec<Position> {
        let mut positions = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(partition) = self.partitions.remove(id) else { continue };
            info!(partition = %id, unsettled = partition.offsets.unsettled(), "Partition given back");
            partition.lease.end();
            self.lanes.forget(id);
            self.flow.status.returned(partition.offsets.unsettled());
            positions.extend(partition.offsets.wall().map(|offset| Position { partition: id.clone(), offset }));
        }
        self.count_partitions();
        positions
    }

    fn count_partitions(&mut self) {
        self.limits.share(self.partitions.len());
        self.flow.status.assigned(self.partitions.len());
    }

    fn command(&self, command: Command) {
        // A source that no longer listens has ended, which the end of its events tells.
        drop(self.commands.send(command));
    }
}
