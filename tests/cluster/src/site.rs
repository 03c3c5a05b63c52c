//! Where one cluster lives: its name, its addresses, its folder and who finds what there.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::fs::symlink;
use std::path::{self, Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::build::Program;
use crate::kubectl::Kubectl;
use crate::name::Name;
use crate::process;
use crate::subnet::Subnet;
use crate::template;

pub(crate) const KAFKA_PORT: u16 = 9092;
pub(crate) const REGISTRY_PORT: u16 = 9141;
pub(crate) const API_PORT: u16 = 6443;
pub(crate) const GATEWAY_PORT: u16 = 80;

#[derive(Clone, Debug)]
pub(crate) struct Site {
    name: Name,
    folder: PathBuf,
    subnet: Subnet,
}

/// What is written down about a cluster when it is made.
#[derive(Serialize, Deserialize)]
struct Record {
    subnet: String,
    boot: String,
}

impl Site {
    /// Makes the folder of a new cluster.
    pub(crate) fn create(name: Name, subnet: Subnet) -> Result<Self> {
        let folder = folder_of(&name);
        let record = Record { subnet: subnet.to_string(), boot: process::boot_id()? };
        template::write(&folder.join("cluster.json"), &serde_json::to_string_pretty(&record)?)?;
        fs::create_dir_all(folder.join("logs"))?;
        Ok(Self { name, folder, subnet })
    }

    /// The cluster of that name, if one was made since this machine started.
    pub(crate) fn find(name: &Name) -> Result<Option<Self>> {
        let folder = folder_of(name);
        let Ok(text) = fs::read_to_string(folder.join("cluster.json")) else { return Ok(None) };
        let Ok(record) = serde_json::from_str::<Record>(&text) else { return Ok(None) };
        if record.boot != process::boot_id()? {
            return Ok(None);
        }
        Ok(Some(Self { name: name.clone(), folder, subnet: record.subnet.parse()? }))
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) fn subnet(&self) -> Subnet {
        self.subnet
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        self.subnet.node()
    }

    pub(crate) fn listener(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), port)
    }

    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        self.folder.join(inside)
    }

    /// The same as text, for arguments and configuration files.
    pub(crate) fn text(&self, inside: &str) -> String {
        self.path(inside).display().to_string()
    }

    pub(crate) fn certificate(&self, file: &str) -> String {
        self.text(&format!("certificates/{file}"))
    }

    pub(crate) fn kubeconfig(&self, user: &str) -> String {
        self.text(&format!("kubeconfigs/{user}"))
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path("logs/audit.log")
    }

    pub(crate) fn program(&self, program: Program) -> PathBuf {
        self.path("programs").join(program.name())
    }

    pub(crate) fn kubectl(&self) -> Kubectl {
        Kubectl {
            program: self.program(Program::Kubernetes).join("kubernetes"),
            verb: Some("kubectl"),
            kubeconfig: self.path("kubeconfig"),
            memory: self.path("kubectl"),
        }
    }

    /// Links the program into the cluster's folder, so that a running cluster keeps what it was started with.
    pub(crate) fn install(&self, program: Program) -> Result<()> {
        let link = self.program(program);
        if link.exists() {
            return Ok(());
        }
        let target = program.obtain()?;
        fs::create_dir_all(self.path("programs"))?;
        // A link whose target was cleared from the cache is in the way.
        let _ = fs::remove_file(&link);
        symlink(target, &link).with_context(|| format!("link {}", link.display()))
    }

    /// Does a piece of set-up that lasts as long as the cluster, unless it was done before.
    pub(crate) fn once(&self, what: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = self.path("done").join(what);
        if done.exists() {
            return Ok(());
        }
        run()?;
        template::write(&done, "")
    }
}

/// Below which the folders of all clusters are.
pub(crate) fn root() -> PathBuf {
    let folder = env::var_os("SLUICE_STATE").map_or_else(|| Path::new("/var/tmp/sluice").to_owned(), PathBuf::from);
    // Components run elsewhere: a relative path would mean something else to them.
    path::absolute(&folder).unwrap_or(folder)
}

pub(crate) fn folder_of(name: &Name) -> PathBuf {
    root().join(name.as_str())
}
