//! The programs of others that turn webhooks into Kafka records, built from modules of our own that name their versions. They check no
//! signature and no id, which is in their favour.

use std::{net::SocketAddr, path::Path, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::json;
use sluice_suite::peers;

use crate::load::PATH;

/// Benthos' `http_server` answers when its output has confirmed. Of the settings that were tried these were its fastest.
pub(crate) fn benthos(endpoint: SocketAddr, kafka: &str, topic: &str, folder: &Path) -> anyhow::Result<Command> {
    let config = json!({
        "http": {"enabled": false},
        "logger": {"level": "WARN"},
        "input": {"http_server": {"address": endpoint.to_string(), "path": PATH, "allowed_verbs": ["POST"]}},
        "pipeline": {"threads": 2, "processors": []},
        "output": {"kafka_franz": {
            "seed_brokers": [kafka], "topic": topic, "max_in_flight": 256,
            "batching": {"count": 64, "period": "1ms"},
        }},
    });
    let path = folder.join("benthos.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new(peers::benthos()?);
    command.arg("-c").arg(path);
    Ok(command)
}

/// An event source of Argo Events whose event bus is Kafka: it writes with acks=all and answers afterwards.
pub(crate) fn argo_events(endpoint: SocketAddr, kafka: &str, topic: &str) -> anyhow::Result<Command> {
    let files = [
        ("go.mod", include_str!("argo-events/go.mod")),
        ("go.sum", include_str!("argo-events/go.sum")),
        ("main.go", include_str!("argo-events/main.go")),
    ];
    let program = peers::go_build("argo-events", &files)?;
    let source = json!({
        "metadata": {"name": "github", "namespace": "shop"},
        "spec": {"webhook": {"github": {"port": endpoint.port().to_string(), "endpoint": PATH, "method": "POST"}}},
    });
    let bus = json!({"kafka": {"url": kafka, "topic": topic, "version": "2.8.0"}});
    let mut command = Command::new(program);
    command.env("EVENTSOURCE_OBJECT", BASE64_STANDARD.encode(source.to_string()));
    command.env("EVENTBUS_CONFIG", BASE64_STANDARD.encode(bus.to_string()));
    command.envs([("EVENTBUS_SUBJECT", "shop"), ("POD_NAME", "argo-events")]);
    Ok(command)
}
