//! Brings the parts of a cluster up, as many at once as depend on nothing but each other's beginnings.

use std::thread;

use anyhow::{Result, anyhow};

use crate::build::Program;
use crate::components::{Component, contour, coredns};
use crate::part::{Part, Parts};
use crate::progress::step;
use crate::readiness::Probe;
use crate::site::Site;
use crate::{certificates, cgroup, image, supervision};

/// Adds what is missing of the parts; leaves alone what runs.
pub(crate) fn bring_up(site: &Site, parts: &Parts) -> Result<()> {
    for program in programs(parts) {
        site.install(program)?;
    }
    site.once("certificates", || certificates::write_all(site))?;
    thread::scope(|scope| {
        let kafka = scope.spawn(|| kafka(site, parts));
        let registry = scope.spawn(|| when(parts, Part::SchemaRegistry, || registry(site)));
        let containers = scope.spawn(|| when(parts, Part::Node, || containers(site)));
        let control_plane = when(parts, Part::ControlPlane, || control_plane(site));
        let containers = joined(containers);
        let rest = control_plane.and(containers).and_then(|()| on_the_control_plane(site, parts));
        joined(kafka).and(joined(registry)).and(rest)
    })
}

fn programs(parts: &Parts) -> Vec<Program> {
    let needed = [
        (Part::Kafka, &[Program::Kafka, Program::KafkaClasses][..]),
        (Part::KafkaReplicated, &[Program::Kafka, Program::KafkaClasses]),
        (Part::KafkaSecured, &[Program::Kafka, Program::KafkaClasses]),
        (Part::SchemaRegistry, &[Program::SchemaRegistry]),
        (Part::ControlPlane, &[Program::Kubernetes]),
        (Part::Node, &[Program::Coredns, Program::Pause]),
        (Part::GatewayCrds, &[Program::GatewayApi]),
        (Part::Gateway, &[Program::Contour, Program::Envoy]),
    ];
    let needed = needed.into_iter().filter(|(part, _)| parts.has(*part));
    needed.flat_map(|(_, programs)| programs.iter().copied()).collect()
}

fn when(parts: &Parts, part: Part, run: impl FnOnce() -> Result<()>) -> Result<()> {
    if parts.has(part) { run() } else { Ok(()) }
}

fn joined(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a part of the start panicked; its message is above")))
}

fn kafka(site: &Site, parts: &Parts) -> Result<()> {
    when(parts, Part::Kafka, || ready(site, "kafka ready", &[Component::Kafka]))?;
    when(parts, Part::KafkaReplicated, || {
        let brokers = Component::REPLICATED;
        // None of them is ready before two of them run.
        brokers.iter().try_for_each(|broker| supervision::launch(site, *broker))?;
        ready(site, "three kafka brokers ready", &brokers)
    })?;
    when(parts, Part::KafkaSecured, || ready(site, "secured kafka ready", &[Component::KafkaSecured]))
}

fn registry(site: &Site) -> Result<()> {
    ready(site, "schema registry ready", &[Component::SchemaRegistry])
}

fn control_plane(site: &Site) -> Result<()> {
    let components = [Component::Etcd, Component::Apiserver, Component::ControllerManager];
    ready(site, "kubernetes control plane ready", &components)
}

fn containers(site: &Site) -> Result<()> {
    cgroup::create(site.name())?;
    ready(site, "containerd ready", &[Component::Mounts, Component::Containerd])?;
    site.once("pause-image", || image::load_pause(site))
}

fn on_the_control_plane(site: &Site, parts: &Parts) -> Result<()> {
    thread::scope(|scope| {
        let node = scope.spawn(|| when(parts, Part::Node, || node(site)));
        let definitions = when(parts, Part::GatewayCrds, || gateway_crds(site));
        let gateway = definitions.and_then(|()| when(parts, Part::Gateway, || gateway(site)));
        joined(node).and(gateway)
    })
}

fn node(site: &Site) -> Result<()> {
    let components = [Component::Scheduler, Component::Kubelet, Component::KubeProxy, Component::Coredns];
    components.iter().try_for_each(|component| supervision::launch(site, *component))?;
    site.once("dns-service", || site.kubectl().apply(&coredns::service(site)))?;
    ready(site, "kubernetes node ready", &components)
}

fn gateway_crds(site: &Site) -> Result<()> {
    site.once("gateway-crds", || step("gateway api definitions ready", || define(site, "gateway-api.yaml")))
}

fn gateway(site: &Site) -> Result<()> {
    site.once("gateway", || {
        define(site, "contour.yaml")?;
        let kubectl = site.kubectl();
        kubectl.apply(&contour::gateway(site))?;
        let status = contour::load_balancer_status(site);
        let service = ["patch", "service", "envoy", "--namespace=projectcontour", "--subresource=status"];
        kubectl.run(&[&service[..], &["--type=merge", "--patch", &status]].concat()).map(drop)
    })?;
    ready(site, "gateway ready", &[Component::Contour, Component::Envoy])
}

/// Applies resource definitions and waits until their resources can be used.
fn define(site: &Site, file: &str) -> Result<()> {
    site.kubectl().apply_file(&site.program(Program::GatewayApi).join(file))?;
    supervision::wait(site, Component::Apiserver, &[Probe::Definitions(site.kubectl())])
}

/// Starts what does not run and waits for all; silent where nothing was to do.
fn ready(site: &Site, title: &str, components: &[Component]) -> Result<()> {
    if components.iter().all(|component| supervision::is_ready(site, *component)) {
        return Ok(());
    }
    step(title, || components.iter().try_for_each(|component| supervision::start(site, *component)))
}
