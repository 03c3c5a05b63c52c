//! What one record may cost: a number of expressions, CPU, and memory. They are shared by decoding and all steps.

use std::{ops::ControlFlow, time::Duration};

/// Tells how much CPU the current thread has used. It comes in as an argument, so that nothing here reads a clock.
pub type CpuTime = fn() -> Duration;

/// What the current thread uses.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// CPU.
    pub cpu_time: CpuTime,
    /// Bytes that it has allocated and not given back. Where others give back what it allocated, or it what others did, the number means
    /// nothing; only its growth does, while the thread works on a record.
    pub memory: fn() -> i64,
}

/// Expressions that may be evaluated for one record: some 50 ms. The same on every machine, so it comes first.
const MOST_WORK: u32 = 500_000;
/// CPU that one record may take.
const MOST_CPU: Duration = Duration::from_millis(100);
/// How many times its size a record may take of memory: a number of two bytes takes 40 as a value. It is looked at after each
/// expression, and one expression makes at most as much again as it is given, or a few times as much.
const MEMORY_FACTOR: i64 = 128;
/// The least and the most that is, in MiB.
const LEAST_MEMORY: i64 = 32;
const MOST_MEMORY: i64 = 128;
const MIB: i64 = 1024 * 1024;
/// A smaller record is measured only once it has cost some expressions: reading the clock costs as much as four of them.
const SMALL: usize = 4 * 1024;
const FEW: u32 = 16;

/// What is left for one record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    meter: Meter,
    /// The record's share of memory, and the thread's at which it has had that.
    share: i64,
    memory: i64,
    /// The thread's CPU time at which the record has had its share; `None` while it is not worth measuring.
    deadline: Option<Duration>,
    work: u32,
    overdue: bool,
    too_large: bool,
}

impl Budget {
    /// For a record of this many bytes.
    pub(crate) fn new(meter: Meter, size: usize) -> Self {
        let share = i64::try_from(size).unwrap_or(i64::MAX).saturating_mul(MEMORY_FACTOR);
        let share = share.clamp(LEAST_MEMORY * MIB, MOST_MEMORY * MIB);
        let memory = (meter.memory)().saturating_add(share);
        let mut budget = Self { meter, share, memory, deadline: None, work: 0, overdue: false, too_large: false };
        if size >= SMALL {
            budget.measure();
        }
        budget
    }

    /// One more expression. `Break`: the record has had its share, and had it before if it was told so before.
    pub(crate) fn spend(&mut self) -> ControlFlow<()> {
        self.work = self.work.saturating_add(1);
        if self.work >= FEW && (self.work.is_power_of_two() || self.work.is_multiple_of(64)) {
            self.measure();
        }
        self.weigh();
        if self.overdue || self.too_large || self.work > MOST_WORK {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// What the record has used up, for people; `None` while there is some left.
    pub(crate) fn used_up(&mut self) -> Option<String> {
        if self.deadline.is_some() {
            self.measure();
        }
        self.weigh();
        if self.too_large {
            let share = self.share / MIB;
            return Some(format!("it was stopped when it took more than {share} MiB of memory for one record"));
        }
        if self.work > MOST_WORK {
            return Some(format!("it was stopped after {MOST_WORK} expressions for one record"));
        }
        self.overdue.then(|| format!("it was stopped after {} ms of CPU for one record", MOST_CPU.as_millis()))
    }

    fn weigh(&mut self) {
        self.too_large |= (self.meter.memory)() > self.memory;
    }

    fn measure(&mut self) {
        let now = (self.meter.cpu_time)();
        let deadline = *self.deadline.get_or_insert(now + MOST_CPU);
        self.overdue |= now > deadline;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! { static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) }; }

    /// Each look at the clock costs 10 ms.
    fn slow() -> Duration {
        NOW.set(NOW.get() + Duration::from_millis(10));
        NOW.get()
    }

    fn meter(cpu_time: CpuTime) -> Meter {
        Meter { cpu_time, memory: || 0 }
    }

    fn spend_until_break(mut budget: Budget) -> (u32, Option<String>) {
        let mut spent = 0;
        while budget.spend().is_continue() {
            spent += 1;
        }
        (spent, budget.used_up())
    }

    #[test]
    fn work_is_bounded_where_the_clock_stands() {
        let (spent, reason) = spend_until_break(Budget::new(meter(|| Duration::ZERO), 0));
        assert_eq!((spent, reason.unwrap().contains("500000 expressions")), (MOST_WORK, true));
    }

    #[test]
    fn cpu_is_bounded_whatever_the_work() {
        let (spent, reason) = spend_until_break(Budget::new(meter(slow), 0));
        assert!(spent < 1_000 && reason.unwrap().contains("100 ms of CPU"), "{spent}");
        let mut large = Budget::new(meter(slow), SMALL);
        NOW.set(NOW.get() + MOST_CPU);
        assert!(large.used_up().is_some(), "a large record is measured from its beginning");
    }

    #[test]
    fn memory_is_bounded_whatever_it_was_before() {
        thread_local! { static MEMORY: Cell<i64> = const { Cell::new(-7) }; }
        let mut budget = Budget::new(Meter { cpu_time: || Duration::ZERO, memory: || MEMORY.get() }, 0);
        MEMORY.set(LEAST_MEMORY * MIB - 7);
        assert!(budget.spend().is_continue());
        MEMORY.set(LEAST_MEMORY * MIB - 6);
        assert!(budget.spend().is_break());
        MEMORY.set(0);
        assert!(budget.used_up().unwrap().contains("32 MiB of memory"));
    }

    #[test]
    fn a_small_record_that_costs_little_is_not_measured() {
        let mut budget = Budget::new(meter(|| panic!("the clock was read")), SMALL - 1);
        assert!((1..FEW).all(|_| budget.spend().is_continue()));
        assert_eq!(budget.used_up(), None);
    }
}
