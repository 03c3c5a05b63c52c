//! The mounts of the node: a mount namespace that nobody else sees and that vanishes with its last process.
//!
//! containerd and the kubelet mount a lot and have folders that cannot be configured (`/run/containerd`, `/var/lib/cni`,
//! `/var/log/containers`). In here those are empty and theirs, for each cluster anew. The kubelet also insists on kernel
//! settings of the whole machine; in here it finds them as it wants them and leaves the machine's alone.

use anyhow::{Result, ensure};

use super::Launch;
use crate::build::cache;
use crate::readiness::Probe;
use crate::site::Site;
use crate::template;

const HIDDEN: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// What the kubelet's `setupKernelTunables` wants to read.
const KERNEL_SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

pub(super) fn prepare(site: &Site) -> Result<Launch> {
    for folder in [site.path(""), cache::root()?] {
        let hidden = HIDDEN.iter().find(|hidden| folder.starts_with(hidden));
        ensure!(
            hidden.is_none(),
            "{} would be hidden from the node: set SLUICE_STATE and SLUICE_CACHE to folders outside of /run, \
             /var/lib and /var/log",
            folder.display()
        );
    }
    for (setting, value) in KERNEL_SETTINGS {
        template::write(&site.path("mounts").join(setting), value)?;
    }
    let ready = site.path("mounts/ready");
    let command = ["unshare", "--mount", "--propagation", "slave", "bash", "-ec", &script(site)].map(String::from);
    Ok(Launch::new(command.to_vec()).ready_when([Probe::File(ready)]))
}

/// Ends in a process that does nothing but hold the namespace for those who join it.
fn script(site: &Site) -> String {
    let hide = HIDDEN.map(|folder| format!("mount -t tmpfs -o mode=755 tmpfs {folder}\n")).concat();
    let settings = KERNEL_SETTINGS.map(|(setting, _)| {
        format!("mount --bind '{}' /proc/sys/{setting}\n", site.text(&format!("mounts/{setting}")))
    });
    format!("{hide}{}touch '{}'\nexec sleep infinity", settings.concat(), site.text("mounts/ready"))
}
