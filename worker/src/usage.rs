//! What a thread uses of the machine: by it a record's share is measured.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sluice_pipeline::Meter;
use tikv_jemalloc_ctl::thread::{self, ThreadLocal};
use tikv_jemallocator::Jemalloc;

/// It counts what each thread allocates, and gives back to the system what is not used.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Of the calling thread.
pub(crate) const METER: Meter = Meter { cpu_time, memory };

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Where the allocator keeps its counts of a thread.
struct Counts {
    allocated: ThreadLocal<u64>,
    deallocated: ThreadLocal<u64>,
}

thread_local! {
    static COUNTS: Option<Counts> = Counts::find();
}

impl Counts {
    /// `None` where the allocator does not count.
    fn find() -> Option<Self> {
        Some(Self { allocated: thread::allocatedp::read().ok()?, deallocated: thread::deallocatedp::read().ok()? })
    }
}

fn memory() -> i64 {
    let used = |counts: &Counts| counts.allocated.get().wrapping_sub(counts.deallocated.get());
    COUNTS.with(|counts| counts.as_ref().map_or(0, used)).cast_signed()
}

/// Bytes that the calling thread has allocated ever, whatever became of them.
#[cfg(test)]
pub(crate) fn allocated() -> u64 {
    COUNTS.with(|counts| counts.as_ref().map(|counts| counts.allocated.get())).expect("the allocator counts")
}

#[cfg(test)]
mod tests {
    use sluice_crds::{
        Decode,
        wire::{Operation, StepConfig},
    };
    use sluice_pipeline::{Code, Pipeline, Record, Verdict};

    use super::*;

    fn judge(program: &str, value: String) -> Verdict {
        let step = StepConfig { name: "map".into(), operation: Operation::Map(program.to_owned()) };
        let pipeline = Pipeline::compile(&Decode::default(), &[step], None).unwrap();
        let record = Record {
            topic: "t".into(),
            partition: 0,
            offset: 0,
            timestamp: None,
            log_append_time: false,
            key: None,
            value: Some(value.into()),
            headers: vec![],
        };
        // What it takes of CPU depends on the machine, and is no matter here.
        pipeline.apply(&record, Meter { cpu_time: || Duration::ZERO, ..METER })
    }

    #[test]
    fn a_record_that_takes_more_than_its_share_of_memory_is_rejected() {
        let text = format!(r#"{{"a": "{}"}}"#, "x".repeat(10_000));
        for line in ["x = x + x", r#"x = "{{ x }}{{ x }}""#] {
            let program = format!("x = string!(.a)\n{}.b = x", format!("{line}\n").repeat(30));
            let Verdict::Reject(rejection) = judge(&program, text.clone()) else { panic!("{line} was not rejected") };
            assert_eq!(rejection.code, Code::TooMuchWork, "{line}: {}", rejection.message);
            assert!(rejection.message.contains("32 MiB of memory"), "{line}: {}", rejection.message);
        }
    }

    #[test]
    fn a_large_record_may_take_several_times_its_size() {
        let text = format!(r#"{{"a": [{}1]}}"#, "1,".repeat(400_000));
        assert!(matches!(judge(".b = .a\n.c = length(array!(.a))", text), Verdict::Deliver(_)));
    }

    #[test]
    fn memory_is_counted() {
        const SIZE: usize = 10_000_000;
        let before = memory();
        let block = std::hint::black_box(vec![1_u8; SIZE]);
        let with = memory() - before;
        drop(block);
        assert!((10_000_000..12_000_000).contains(&with), "{with}");
        assert!((memory() - before).abs() < 100_000, "{}", memory() - before);
    }
}
