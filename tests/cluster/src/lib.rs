//! A Kubernetes cluster of real components on one machine, for demo, tests and benchmarks, without Docker.
//!
//! Each cluster lives in a network namespace of its own; its folder below `${SLUICE_STATE:-/var/tmp/sluice}` holds all
//! it writes. What takes long to build is kept in `${SLUICE_CACHE:-$HOME/.cache/sluice}` and shared by all clusters.
//!
//! ```no_run
//! use sluice_cluster::{Cluster, Part};
//!
//! let cluster = Cluster::up("test", &[Part::ControlPlane, Part::Kafka])?;
//! println!("{} {}", cluster.kubeconfig().display(), cluster.kafka_bootstrap());
//! # Ok::<(), anyhow::Error>(())
//! ```

mod build;
mod certificates;
mod cgroup;
mod cluster;
mod components;
mod down;
mod exit;
mod external;
mod handle;
mod image;
mod kubectl;
mod lock;
mod logs;
mod name;
mod network;
mod part;
mod prerequisites;
mod process;
mod progress;
mod readiness;
mod secured;
mod site;
mod subnet;
mod supervision;
mod target;
mod template;
pub mod testing;
mod up;

pub use cluster::Cluster;
pub use components::Component;
pub use exit::exit;
pub use external::External;
pub use handle::{ComponentHandle, State};
pub use image::Loaded;
pub use part::Part;
pub use secured::{Acl, Operation, Resource, SecuredKafka};
pub use target::Target;
