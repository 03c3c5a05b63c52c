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
                    sender.send_modify(|link| link.producer = Some(connected.producer.clone()));
                    clients = Some(connected);
                    next_question = Instant::now();
                }
                // A producer that was made from the former credentials goes on as long as they hold.
                Err(error) => note(&sender, Some(error.to_string())),
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
    use super::*;

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
