//! A local cluster as its users see it: started, asked for addresses, disturbed on purpose, taken away.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::components::Component;
use crate::components::kafka::REPLICATED_PORTS;
use crate::handle::ComponentHandle;
use crate::image::{self, Loaded};
use crate::lock::Lock;
use crate::name::Name;
use crate::part::{Part, Parts};
use crate::secured::SecuredKafka;
use crate::site::{self, GATEWAY_PORT, KAFKA_PORT, REGISTRY_PORT, Site};
use crate::{down, network, prerequisites, progress, supervision, up};

/// A running cluster. Dropping it leaves the cluster running.
#[derive(Clone, Debug)]
pub struct Cluster {
    site: Site,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Attaches to the cluster of that name and adds the parts it lacks; starts it if there is none, or only the
    /// remains of one. Processes that call this at the same time wait for each other.
    pub fn up(name: &str, parts: &[Part]) -> Result<Self> {
        let name: Name = name.parse()?;
        let parts = Parts::closed_over(parts);
        prerequisites::check(&parts)?;
        let _lock = lock(&name)?;
        let site = found_or_made(&name)?;
        // A process that dies from here on leaves the mark, and the next one starts over.
        let mark = starting(&site);
        fs::write(&mark, "").with_context(|| format!("write {}", mark.display()))?;
        let result = up::bring_up(&site, &parts);
        fs::remove_file(&mark).with_context(|| format!("remove {}", mark.display()))?;
        result.map(|()| Self::at(site))
    }

    /// The running cluster of that name.
    pub fn attach(name: &str) -> Result<Self> {
        let name: Name = name.parse()?;
        let site = Site::find(&name)?.filter(has_life);
        site.map(Self::at)
            .with_context(|| format!("no cluster {name} runs here: start it with `sluice-cluster up --name {name}`"))
    }

    /// The names of all clusters that have a folder, running or not.
    pub fn names() -> Result<Vec<String>> {
        let Ok(entries) = fs::read_dir(site::root()) else { return Ok(Vec::new()) };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.parse::<Name>().is_ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Takes the cluster of that name away with all it left, in whatever state it is.
    pub fn remove(name: &str) -> Result<()> {
        let name: Name = name.parse()?;
        prerequisites::check_rights()?;
        let lock = lock(&name)?;
        network::ensure_ours(&name)?;
        down::remove(&name)?;
        lock.remove()
    }

    /// Takes the cluster away with all it left.
    pub fn down(self) -> Result<()> {
        Self::remove(self.site.name().as_str())
    }

    fn at(site: Site) -> Self {
        Self { kubeconfig: site.path("kubeconfig"), site }
    }

    /// The administrator's.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `host:port` of the broker, the same from this machine and from pods.
    pub fn kafka_bootstrap(&self) -> String {
        self.site.listener(KAFKA_PORT).to_string()
    }

    /// `host:port` of the three brokers that are one cluster.
    pub fn kafka_replicated_bootstrap(&self) -> String {
        REPLICATED_PORTS.map(|port| self.site.listener(port).to_string()).join(",")
    }

    /// The broker that lets nobody in without a login.
    pub fn kafka_secured(&self) -> SecuredKafka {
        SecuredKafka::of(self.site.clone())
    }

    /// Confluent's API of the schema registry.
    pub fn schema_registry_url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.site.listener(REGISTRY_PORT))
    }

    /// Envoy's HTTP listener: the address of the Gateway `edge`, the same from this machine and from pods.
    pub fn gateway_address(&self) -> SocketAddr {
        SocketAddr::V4(self.site.listener(GATEWAY_PORT))
    }

    /// Where pods reach a server that listens on this machine.
    pub fn host_address(&self) -> IpAddr {
        IpAddr::V4(self.site.subnet().host())
    }

    /// The node's address.
    pub fn node_address(&self) -> Ipv4Addr {
        self.site.address()
    }

    /// JSON lines, one for each write and for each read by a service account, there before the request is answered.
    pub fn audit_log(&self) -> PathBuf {
        self.site.audit_log()
    }

    /// Runs the cluster's kubectl and returns what it printed.
    pub fn kubectl(&self, arguments: &[impl AsRef<str>]) -> Result<String> {
        self.site.kubectl().run(arguments)
    }

    /// Creates or updates manifests, server-side.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.site.kubectl().apply(manifests)
    }

    /// kubectl as a command, to be connected to a terminal.
    pub fn kubectl_command(&self, arguments: &[impl AsRef<str>]) -> Command {
        self.site.kubectl().command(arguments)
    }

    /// Makes an image of programs of this machine and gives it to the node; the first program is the entry point. Pods
    /// use it with `imagePullPolicy: IfNotPresent`. Programs that did not change since are not loaded again.
    pub fn load_image(&self, reference: &str, programs: &[&Path]) -> Result<Loaded> {
        let has_node = supervision::is_ready(&self.site, Component::Containerd);
        ensure!(
            has_node,
            "cluster {} has no node to load images into: start it with the part `node`",
            self.site.name()
        );
        image::load(&self.site, reference, programs)
    }

    pub fn component(&self, component: Component) -> ComponentHandle {
        ComponentHandle::new(self.site.clone(), component)
    }
}

fn lock(name: &Name) -> Result<Lock> {
    Lock::acquire(&site::root().join(format!("{name}.lock")), &format!("cluster {name}"))
}

/// The cluster as it runs, or a new one after what is left of an old one was cleared away.
fn found_or_made(name: &Name) -> Result<Site> {
    if let Some(site) = Site::find(name)?.filter(is_sound) {
        return Ok(site);
    }
    network::ensure_ours(name)?;
    if site::folder_of(name).exists() || network::namespace(name).exists() {
        progress::step(&format!("remains of cluster {name} removed"), || down::remove(name))?;
    }
    network::create(name.clone())
}

/// Whether new parts can join: nobody died while starting it, something of it runs, its network and its mounts are there.
fn is_sound(site: &Site) -> bool {
    let mounts_were_made = site.path("mounts/ready").exists();
    let mounts_are_held = supervision::running(site, Component::Mounts).is_some();
    !starting(site).exists()
        && has_life(site)
        && network::identity(site.name()).is_some()
        && (mounts_are_held || !mounts_were_made)
}

fn has_life(site: &Site) -> bool {
    Component::ALL.iter().any(|component| supervision::running(site, *component).is_some())
}

fn starting(site: &Site) -> PathBuf {
    site.path("starting")
}
