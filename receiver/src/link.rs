//! The links to Kafka: a producer as soon as one can be made, made again when its credentials change, and what keeps it from working.
//! Endpoints that reach a Kafka cluster in the same way share its clients.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sluice_crds::KafkaConnection;
use sluice_kafka::{Admin, Error, PerTopic, Producer, ProducerSettings, TopicDescription, credentials_fingerprint};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

use crate::{config::Endpoint, receive::KAFKA_PATIENCE};

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

/// The links of a process. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Links(Arc<Mutex<Vec<Line>>>);

/// The clients of one Kafka cluster, as far as they can be shared, and how an endpoint gets them.
struct Line {
    connection: KafkaConnection,
    joining: mpsc::UnboundedSender<Member>,
    producer: watch::Receiver<Option<Producer>>,
}

/// An endpoint that uses the clients.
#[derive(Debug)]
struct Member {
    topics: Vec<String>,
    sender: watch::Sender<Link>,
    next_question: Instant,
}

/// The two clients of a line.
struct Clients {
    producer: Producer,
    admin: Admin,
}

/// What an event waits for others to share its request to Kafka: a sender across the Internet does not feel it, and under load it
/// halves the CPU time of a request.
const LINGER: Duration = Duration::from_millis(1);
/// A broker that does not answer for as long may be gone without a word, and is asked again over another connection. Twice what the patience
/// of senders usually is: a broker that is only slow is not to be asked the more for it.
const ANSWER: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While all is well: often enough for a status that people read.
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Topics in one request.
const ASKED_AT_ONCE: usize = 1000;

impl Link {
    /// All that is wrong, in a sentence each.
    pub(crate) fn troubles(&self) -> impl Iterator<Item = &str> {
        [&self.unusable_credentials, &self.trouble].into_iter().flatten().map(String::as_str)
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { producer, topic_seen, trouble, unusable_credentials } = self;
        f.debug_struct("Link")
            .field("connected", &producer.is_some())
            .field("topic_seen", topic_seen)
            .field("trouble", trouble)
            .field("unusable_credentials", unusable_credentials)
            .finish()
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.connections()).finish()
    }
}

impl Links {
    /// Connects an endpoint to Kafka and keeps its link up, for as long as anybody looks at it. That Kafka is away is no reason to end.
    pub(crate) fn join(&self, endpoint: &Endpoint) -> watch::Receiver<Link> {
        let connection = &endpoint.connection;
        let mut lines = self.lock();
        lines.retain(|line| !line.joining.is_closed());
        let known = lines.iter().find(|line| line.connection == *connection);
        // Who takes the place of another endpoint writes at once.
        let producer = known.and_then(|line| line.producer.borrow().clone());
        let (sender, link) = watch::channel(Link { producer, ..Link::default() });
        let topics = endpoint.topics().into_iter().map(str::to_owned).collect();
        let member = Member { topics, sender, next_question: Instant::now() };
        let member = match known {
            // Where the line has just ended, the member comes back.
            Some(known) => known.joining.send(member).err().map(|refused| refused.0),
            None => Some(member),
        };
        if let Some(member) = member {
            let (joining, joined) = mpsc::unbounded_channel();
            let (connected, producer) = watch::channel(None);
            let members = Members { all: vec![member], producer: connected, unusable_credentials: None };
            tokio::spawn(keep_up(connection.clone(), members, joined));
            lines.push(Line { connection: connection.clone(), joining, producer });
        }
        link
    }

    /// The connections that are in use. Of each there is one line at most that is not closed.
    pub(crate) fn connections(&self) -> Vec<KafkaConnection> {
        let lines = self.lock();
        lines.iter().filter(|line| !line.joining.is_closed()).map(|line| line.connection.clone()).collect()
    }

    /// The producers that are in use.
    pub(crate) fn producers(&self) -> Vec<Producer> {
        self.lock().iter().filter_map(|line| line.producer.borrow().clone()).collect()
    }

    /// What each statement leaves is whole, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn keep_up(connection: KafkaConnection, mut members: Members, mut joined: mpsc::UnboundedReceiver<Member>) {
    let mut fingerprint = None;
    let mut clients = None;
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(member) = joined.recv() => members.take(member),
        }
        while let Ok(member) = joined.try_recv() {
            members.take(member);
        }
        members.all.retain(|member| !member.sender.is_closed());
        if members.all.is_empty() {
            joined.close();
            // One may have joined before that.
            let Ok(member) = joined.try_recv() else {
                members.producer.send_replace(None);
                return;
            };
            members.take(member);
        }
        let current = Some(credentials_fingerprint(&connection));
        if current != fingerprint {
            fingerprint = current;
            match connect(&connection) {
                Ok(connected) => {
                    members.connected(&connected.producer);
                    clients = Some(connected);
                }
                Err(error) => {
                    warn!("Kafka credentials in trouble: {error}");
                    members.unusable(&error);
                }
            }
        }
        if let Some(Clients { admin, .. }) = &clients {
            members.ask(admin).await;
        }
    }
}

fn connect(connection: &KafkaConnection) -> Result<Clients, Error> {
    let settings =
        ProducerSettings { patience: KAFKA_PATIENCE, answer: ANSWER, linger: LINGER, ..ProducerSettings::default() };
    let producer = Producer::connect(connection, &settings)?;
    let admin = Admin::connect(connection)?.with_timeout(ASK_TIMEOUT);
    info!(brokers = ?connection.bootstrap_servers, "Kafka clients started");
    Ok(Clients { producer, admin })
}

/// The endpoints that share clients, and what those who join later are told.
struct Members {
    all: Vec<Member>,
    producer: watch::Sender<Option<Producer>>,
    unusable_credentials: Option<String>,
}

impl Members {
    fn take(&mut self, member: Member) {
        let (producer, unusable_credentials) = (self.producer.borrow().clone(), self.unusable_credentials.clone());
        member.sender.send_modify(|link| *link = Link { producer, unusable_credentials, ..Link::default() });
        self.all.push(member);
    }

    fn connected(&mut self, producer: &Producer) {
        self.producer.send_replace(Some(producer.clone()));
        self.unusable_credentials = None;
        for member in &mut self.all {
            member.sender.send_modify(|link| {
                link.producer = Some(producer.clone());
                link.unusable_credentials = None;
            });
            member.next_question = Instant::now();
        }
    }

    fn unusable(&mut self, error: &Error) {
        let told = error.to_string();
        for member in &self.all {
            member.sender.send_modify(|link| link.unusable_credentials = Some(told.clone()));
        }
        self.unusable_credentials = Some(told);
    }

    /// Asks for the topics of those whose time has come, all of them at once.
    async fn ask(&mut self, admin: &Admin) {
        let now = Instant::now();
        let due = || self.all.iter().filter(|member| member.next_question <= now);
        let topics: BTreeSet<&str> = due().flat_map(|member| &member.topics).map(String::as_str).collect();
        if topics.is_empty() {
            return;
        }
        let answers = ask_for_topics(admin, &topics.into_iter().collect::<Vec<_>>()).await;
        let pause = ASK_EVERY.saturating_mul(pauses(self.all.len()));
        let mut news = BTreeSet::new();
        for member in self.all.iter_mut().filter(|member| member.next_question <= now) {
            let trouble = trouble(&member.topics, &answers);
            member.next_question = Instant::now() + if trouble.is_none() { pause } else { LOOK_EVERY };
            if note(&member.sender, trouble.as_ref()) {
                news.insert(trouble);
            }
        }
        for news in news {
            if let Some(trouble) = news {
                warn!("Kafka in trouble: {trouble}");
            } else {
                info!("Kafka knows the topics");
            }
        }
    }
}

/// Of how many times [`ASK_EVERY`] the pause is: brokers are asked for about so many topics in a time, however many endpoints there are.
fn pauses(members: usize) -> u32 {
    u32::try_from(members.div_ceil(ASKED_AT_ONCE)).unwrap_or(u32::MAX)
}

type Answers = PerTopic<Option<TopicDescription>>;

async fn ask_for_topics(admin: &Admin, topics: &[&str]) -> Result<Answers, Error> {
    let mut answers = Answers::default();
    for some in topics.chunks(ASKED_AT_ONCE) {
        answers.extend(admin.describe_topics(some).await?);
    }
    Ok(answers)
}

/// Why events cannot be written, as far as Kafka says; for people.
fn trouble(topics: &[String], answers: &Result<Answers, Error>) -> Option<String> {
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => return Some(error.to_string()),
    };
    topics.iter().find_map(|topic| match answers.get(topic) {
        Some(Ok(Some(_))) => None,
        Some(Ok(None)) | None => Some(format!("the Kafka topic {topic:?} does not exist")),
        Some(Err(error)) => Some(format!("the Kafka topic {topic:?} cannot be used: {error}")),
    })
}

/// Writes down what Kafka said; whether it is news.
fn note(sender: &watch::Sender<Link>, trouble: Option<&String>) -> bool {
    sender.send_if_modified(|link| {
        let seen = link.topic_seen || trouble.is_none();
        if (link.trouble.as_ref(), link.topic_seen) == (trouble, seen) {
            return false;
        }
        link.topic_seen = seen;
        link.trouble = trouble.cloned();
        true
    })
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
        let mut link = Links::default().join(&Endpoint { connection, ..endpoint() });
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
        let away = "no answer".to_owned();
        assert!(note(&sender, Some(&away)) && !note(&sender, Some(&away)));
        assert!(!receiver.borrow().topic_seen);
        note(&sender, None);
        note(&sender, Some(&away));
        let link = receiver.borrow();
        assert_eq!((link.topic_seen, link.trouble.as_deref()), (true, Some("no answer")));
    }
    #[tokio::test]
    async fn who_reaches_a_cluster_in_the_same_way_shares_its_clients() {
        let connection = |port: u16| KafkaConnection {
            bootstrap_servers: vec![format!("127.0.0.1:{port}")],
            ..KafkaConnection::default()
        };
        let links = Links::default();
        let join = |port, patience| {
            links.join(&Endpoint {
                connection: connection(port),
                patience: Duration::from_millis(patience),
                ..endpoint()
            })
        };
        let mut members = [join(9, 2500), join(9, 5000), join(10, 2500)];
        for link in &mut members {
            drop(link.wait_for(|link| link.producer.is_some()).await.unwrap());
        }
        assert_eq!(links.lock().len(), 2);
        assert_eq!(links.connections(), [connection(9), connection(10)]);
        let held: Vec<_> = links.lock().iter().map(|line| line.joining.clone()).collect();
        drop(members);
        for joining in held {
            joining.closed().await;
        }
        assert_eq!(links.connections(), []);
        drop(join(9, 2500));
        assert_eq!(links.lock()[0].connection, connection(9));
    }
}
