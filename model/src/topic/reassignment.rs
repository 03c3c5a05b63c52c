//! How a person changes the copies of a topic's partitions. Sluice moves no partitions; ARCHITECTURE.md says why.

use super::{Observed, Wanted};

/// What is asked for, and the commands that do it. They were tried as they stand, on three brokers.
pub fn procedure(wanted: &Wanted, observed: &Observed, to: i16) -> String {
    let (name, from) = (&wanted.name, observed.replicas);
    let brokers = wanted.cluster.connection.bootstrap_servers.join(",");
    let kafka = format!("--bootstrap-server {brokers}");
    let ids: Vec<String> = (1..=to).map(|id| id.to_string()).collect();
    let entry = format!(r#"{{"topic":"{name}","partition":0,"replicas":[{}]}}"#, ids.join(","));
    let reassign = format!("kafka-reassign-partitions.sh {kafka} --reassignment-json-file reassign.json");
    format!(
        "topic {name:?} has its partitions on {from} broker(s) each; {to} were asked for, and Sluice moves no partitions. To do it: \
         (1) `kafka-topics.sh {kafka} --describe --topic {name}` shows where they are; (2) write reassign.json as \
         `{{\"version\":1,\"partitions\":[{entry}]}}`, with an entry for each partition and {to} ids of your \
         brokers in each, the present leader first; (3) `{reassign} --throttle 50000000 --execute` starts it, at 50 MB/s; \
         (4) `{reassign} --verify`, until all are completed, also takes the throttle away. Sluice sees by itself when it is done"
    )
}

/// What is said while the copies that are asked for are there, and some of them do not have all records yet.
pub fn copying(wanted: &Wanted, in_sync: i16, to: i16) -> String {
    let name = &wanted.name;
    format!(
        "topic {name:?} has {to} copies of each partition, but of some partition only {in_sync} are in sync: records are still \
         being copied, or a broker is away. Sluice sees by itself when it is done"
    )
}

#[cfg(test)]
mod tests {
    use sluice_crds::KafkaConnection;

    use super::*;
    use crate::Cluster;

    #[test]
    fn the_commands_name_brokers_topic_and_partitions() {
        let connection =
            KafkaConnection { bootstrap_servers: vec!["a:9092".into(), "b:9092".into()], ..KafkaConnection::default() };
        let cluster = Cluster { name: "default".into(), connection, secret_name: None, ca_config_map_name: None };
        let wanted = Wanted {
            cluster,
            name: "shop.orders".into(),
            partitions: None,
            replicas: Some(3),
            config: [].into(),
            policy: sluice_crds::ManagementPolicy::Full,
        };
        let observed = Observed { id: "id".into(), partitions: 6, replicas: 1, in_sync: None, config: [].into() };
        let text = procedure(&wanted, &observed, 3);
        for part in [
            "`kafka-topics.sh --bootstrap-server a:9092,b:9092 --describe --topic shop.orders`",
            r#"`{"version":1,"partitions":[{"topic":"shop.orders","partition":0,"replicas":[1,2,3]}]}`"#,
            "--reassignment-json-file reassign.json --throttle 50000000 --execute`",
            "--reassignment-json-file reassign.json --verify`",
        ] {
            assert!(text.contains(part), "{part} should be in: {text}");
        }
    }
}
