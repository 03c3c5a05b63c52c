//! What every program tells about itself.

use super::{Chapter, metrics};

metrics! {
    BUILD = Info "sluice_build_info" [PROGRAM, VERSION] "The build that runs";
    CPU = Counter "process_cpu_seconds_total" [] "CPU time that the process used";
    MEMORY = Gauge "process_resident_memory_bytes" [] "Memory that the process holds";
    START = Gauge "process_start_time_seconds" [] "When the process started, in seconds since 1970";
    CERTIFICATE_EXPIRY = Gauge "sluice_certificate_expiry_timestamp_seconds" [FILE]
        "When a mounted certificate expires, in seconds since 1970: of a chain the first one, of authorities the last one";
    FILES = Gauge "process_open_fds" [] "Files and connections that the process has open";
}

/// What every program tells about itself.
pub const CHAPTER: Chapter = Chapter { title: "Every program", preface: "", metrics: METRICS };
