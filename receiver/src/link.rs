//! The link to Kafka: a producer as soon as one can be made, made again when its credentials change, and what keeps it
//! from working.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sluice_kafka::{Admin, Error, Producer, ProducerSettings, credentials_fingerprint};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::config::Endpoint;

/// How it stands with Kafka.
#[derive(Clone, Default)]
pub(crate) struct Link {
    /// `None` until the files of the connection can be read.
    pub(crate) producer: Option<Producer>,
    /// Whether Kafka has told us of the topics. It stays true: a receiver that has met Kafka answers for itself when Kafka is
    /// gone, with 503 and Retry-After, which is more than a gateway without a ready receiver would say.
    pub(crate) topic_seen: bool,
    /// What was wrong when Kafka was last asked.
    pub(crate) trouble: Option<String>,
    /// Why the credentials as they are now cannot be used; a producer that was made from the former ones goes on as long as they hold.
    pub(crate) unusable_credentials: Option<String>,
}

/// The two clients that the link holds.
struct Clients {
    producer: Producer,
    admin: Admin,
}

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While all is well: often enough for a status that people read.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

impl Link {
    /// All that is wrong, in a sentence each.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &str> {
        [&self.unusable_credentials, &self.trouble].into_iter().flatten().map(String::as_str)
    }
}

/// Connects to Kafka and keeps the link up, for as long as anybody looks at it. That Kafka is away is no reason to end.
pub(crate) fn watch(endpoint: Arc<Endpoint>) -> watch::Receiver<Link> {
    let (sender, receiver) = watch::channel(Link::default());
    tokio::spawn(keep_up(endpoint, sender));
    receiver
}

async fn keep_up(endpoint: Arc<Endpoint>, sender: watch::Sender<Link>) {
    let mut fingerprint = None;
    let mut clients = None;
    let mut next_question = Instant::now();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !sender.is_closed() {
        ticks.tick().await;
        let current = Some(credentials_fingerprint(&endpoint.connection));
        if current != fingerprint {
            fingerprint = current;
            match connect(&endpoint) {
                Ok(connected) => {
                    sender.send_modify(|link| {
                        link.producer = Some(connected.producer.clone());
                        link.unusable_credentials = None;
                    });
                    clients = Some(connected);
                    next_question = Instant::now();
                }
                Err(error) => {
                    warn!("Kafka credentials in trouble: {error}");
                    sender.send_modify(|link| link.unusable_credentials = Some(error.to_string()));
                }
            }
        }
        if let Some(Clients { admin, .. }) = clients.as_ref().filter(|_| next_question <= Instant::now()) {
            let trouble = ask_for_topics(admin, &endpoint.topics()).await.err();
            next_question = Instant::now() + if trouble.is_none() { ASK_EVERY } else { LOOK_EVERY };
            note(&sender, trouble);
        }
    }
}

fn connect(endpoint: &Endpoint) -> Result<Clients, Error> {
    let settings = ProducerSettings { patience: endpoint.patience, ..ProducerSettings::default() };
    let producer = Producer::connect(&endpoint.connection, &settings)?;
    let admin = Admin::connect(&endpoint.connection)?.with_timeout(ASK_TIMEOUT);
    info!(brokers = ?endpoint.connection.bootstrap_servers, "Kafka clients started");
    Ok(Clients { producer, admin })
}

/// Whether events can be written, as far as Kafka says; the error is for people.
async fn ask_for_topics(admin: &Admin, topics: &[&str]) -> Result<(), String> {
    let mut answers = admin.describe_topics(topics).await.map_err(|error| error.to_string())?;
    for topic in topics {
        match answers.remove(*topic) {
            Some(Ok(Some(_))) => {}
            Some(Ok(None)) | None => return Err(format!("the Kafka topic {topic:?} does not exist")),
            Some(Err(error)) => return Err(format!("the Kafka topic {topic:?} cannot be used: {error}")),
        }
    }
    Ok(())
}

/// Writes down what Kafka said, and logs it where it is news.
fn note(sender: &watch::Sender<Link>, trouble: Option<String>) {
    sender.send_if_modified(|link| {
        let seen = link.topic_seen || trouble.is_none();
        if (&link.trouble, link.topic_seen) == (&trouble, seen) {
            return false;
        }
        if let Some(trouble) = &trouble {
            warn!("Kafka in trouble: {trouble}");
        } else {
            info!("Kafka knows the topics");
        }
        link.topic_seen = seen;
        link.trouble = trouble;
        true
    });
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sluice_crds::{KafkaConnection, SaslMechanism, SecurityProtocol};

    use super::*;
    use crate::config::tests::endpoint;

    #[tokio::test]
    async fn credentials_that_cannot_be_used_are_told_until_they_can_whatever_kafka_says() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), "text").unwrap();
        write("username");
        write("password");
        let connection = KafkaConnection {
            bootstrap_servers: vec!["127.0.0.1:9".into()],
            security_protocol: SecurityProtocol::SaslPlaintext,
            sasl_mechanism: Some(SaslMechanism::ScramSha256),
            credentials: Some(folder.path().into()),
            ca: None,
        };
        let mut link = watch(Arc::new(Endpoint { connection, ..endpoint() }));
        let is_told = |link: &Link| link.troubles().any(|trouble| trouble.contains("the SASL password"));
        drop(link.wait_for(|link| link.producer.is_some()).await.unwrap());
        fs::remove_file(folder.path().join("password")).unwrap();
        drop(link.wait_for(is_told).await.unwrap());
        drop(link.wait_for(|link| link.trouble.is_some()).await.unwrap());
        assert!(is_told(&link.borrow()));
        write("password");
        drop(link.wait_for(|link| !is_told(link)).await.unwrap());
    }

    #[test]
    fn a_topic_that_was_seen_stays_seen_while_kafka_is_in_trouble() {
        let (sender, receiver) = watch::channel(Link::default());
        note(&sender, Some("no answer".into()));
        assert!(!receiver.borrow().topic_seen);
        note(&sender, None);
        note(&sender, Some("no answer".into()));
        let link = receiver.borrow();
        assert_eq!((link.topic_seen, link.trouble.as_deref()), (true, Some("no answer")));
    }
}
