//! Apicurio Registry, in memory, with Confluent's API at `/apis/ccompat/v7`.

use super::Launch;
use crate::build::Program;
use crate::readiness::Probe;
use crate::site::{REGISTRY_PORT, Site};

pub(super) fn prepare(site: &Site) -> Launch {
    let listener = site.listener(REGISTRY_PORT);
    let command = vec![
        "java".into(),
        "-Xmx256m".into(),
        "-XX:+UseSerialGC".into(),
        "-XX:TieredStopAtLevel=1".into(),
        format!("-Dquarkus.http.host={}", listener.ip()),
        format!("-Dquarkus.http.port={}", listener.port()),
        "-jar".into(),
        site.program(Program::SchemaRegistry).join("registry.jar").display().to_string(),
    ];
    Launch::new(command).ready_when([Probe::Http(listener, "/apis/ccompat/v7/subjects")])
}
