//! Several receivers that share a Redis write each event once; without it they write on and say so. `SLUICE_EVENTS` says with how
//! many requests.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    net::Ipv4Addr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::future::{join_all, pending};
use http::Method;
use rcgen::SanType;
use serde_json::json;
use sluice_cluster::Cluster;
use sluice_crds::{CloudEvents, Duration, wire::Verification};
use tempfile::TempDir;
use tokio::{io::copy_bidirectional, net::TcpStream, sync::watch, time::interval};

use crate::{
    certificates::{Pair, authority, issue},
    ending::until_ended,
    faults::{Paused, patient_cluster},
    kafka::{connection, connection_to, records, topic},
    running::{PATH, Running, SECRET, SHORT, Setup, free_port},
    sender::{Sender, fresh_id, full},
    until,
};

/// A Redis until it is dropped.
struct Redis {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Redis {
    async fn start(port: u16) -> Self {
        Self::run(port, tempfile::tempdir().unwrap(), &[]).await
    }

    /// One that speaks TLS too, at another port, and shows this certificate there.
    async fn secured(tls_port: u16, Pair { certificate, key }: &Pair) -> Self {
        let (folder, tls_port) = (tempfile::tempdir().unwrap(), tls_port.to_string());
        for (name, text) in [("tls.crt", certificate), ("tls.key", key)] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        // It reads them after it went to its folder.
        let files = ["--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key"];
        let more: Vec<&str> = ["--tls-port", &tls_port, "--tls-auth-clients", "no"].into_iter().chain(files).collect();
        Self::run(free_port(), folder, &more).await
    }

    async fn run(port: u16, folder: TempDir, more: &[&str]) -> Self {
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder.path())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { process, port, _folder: folder };
        until(async || redis.ask(&["PING"]), |answer| answer == "PONG").await;
        redis
    }

    fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn url(&self) -> String {
        url(self.port)
    }

    /// Makes it a replica of another one. Its connections stay.
    fn follow(&self, leader: &Self) {
        assert_eq!(self.ask(&["REPLICAOF", "127.0.0.1", &leader.port.to_string()]), "OK");
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0\n")
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// An address that leads to one Redis and later to another one, as a Service does.
struct Way {
    port: u16,
    course: Arc<Course>,
}

struct Course {
    /// Where new connections lead.
    to: AtomicU16,
    connections: AtomicUsize,
    lost: watch::Sender<()>,
}

impl Way {
    async fn to(redis: &Redis) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, connections, lost) = (redis.port.into(), AtomicUsize::default(), watch::Sender::default());
        let course = Arc::new(Course { to, connections, lost });
        tokio::spawn(Arc::clone(&course).serve(listener));
        Self { port, course }
    }

    fn lead_to(&self, redis: &Redis) {
        self.course.to.store(redis.port, Ordering::Relaxed);
    }

    /// What is connected hears nothing any more, not even that it is over, as when a node loses its power.
    fn lose(&self) {
        self.course.lost.send_replace(());
    }

    fn connections(&self) -> usize {
        self.course.connections.load(Ordering::Relaxed)
    }
}

impl Course {
    async fn serve(self: Arc<Self>, listener: tokio::net::TcpListener) {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            tokio::spawn(carry(near, self.to.load(Ordering::Relaxed), self.lost.subscribe()));
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn carry(mut near: TcpStream, to: u16, mut lost: watch::Receiver<()>) {
    let Ok(mut far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = lost.changed() => pending().await,
    }
}

async fn receiver(topic: &str, url: &str) -> Running {
    let mut setup = Setup::new(connection(), topic);
    share(&mut setup, url);
    setup.ready().await
}

/// Has it remember ids in a Redis.
fn share(setup: &mut Setup, url: &str) {
    let file = setup.secret("redis");
    fs::write(&file, url).unwrap();
    setup.config.deduplication_redis = Some(file);
}

async fn send(receiver: &Running, id: &str) -> u16 {
    Sender::to(receiver.endpoint).signed(SECRET, id, "{}").await.unwrap().status
}

async fn written(topic: &str) -> Vec<String> {
    records(&connection(), topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect()
}

/// How many are sent: what `SLUICE_EVENTS` says, or so many.
fn requests() -> usize {
    env::var("SLUICE_EVENTS").map_or(12_000, |number| number.parse().expect("SLUICE_EVENTS is a number"))
}

/// How often they did not get Redis's advice, since it answers within a fraction of a second or is taken for gone.
fn troubles<'a>(receivers: impl IntoIterator<Item = &'a Running>) -> usize {
    receivers.into_iter().map(|receiver| receiver.log().matches("Deduplication in trouble").count()).sum()
}

async fn unchecked(receivers: &[Running]) -> Vec<u64> {
    join_all(receivers.iter().map(Running::status)).await.iter().map(|status| status.unchecked).collect()
}

/// Repeats a round until its receivers always got Redis's advice: a machine that stands still for a moment is no fault of theirs.
async fn until_redis_is_in_time(round: impl AsyncFn() -> bool) {
    for _ in 0..5 {
        if round().await {
            return;
        }
    }
    panic!("Redis was late in every round");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_is_written_once_however_often_it_comes_to_whom() {
    until_redis_is_in_time(send_each_often).await;
}

async fn send_each_often() -> bool {
    const SENDERS: usize = 32;
    let requests = requests();
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let url = redis.url();
    let receivers = join_all((0..3).map(|_| receiver(&topic, &url))).await;
    let ids: Vec<String> = (0..requests / 6).map(|_| fresh_id()).collect();
    // Each id is sent until it is acknowledged, then five times more, by any sender to any receiver.
    let senders = (0..SENDERS).map(|_| async {
        let senders: Vec<_> = receivers.iter().map(|receiver| Sender::to(receiver.endpoint)).collect();
        for _ in 0..requests / SENDERS {
            let (sender, id) = (fastrand::choice(&senders).unwrap(), fastrand::choice(&ids).unwrap());
            let status = sender.signed(SECRET, id, "{}").await.unwrap().status;
            assert!([202, 503].contains(&status), "{status}");
        }
    });
    join_all(senders).await;
    for id in &ids {
        until(async || send(fastrand::choice(&receivers).unwrap(), id).await, |status| *status == 202).await;
    }
    let mut found = written(&topic).await;
    found.sort_unstable();
    let unchecked = unchecked(&receivers).await;
    let is_in_time = troubles(&receivers) == 0;
    if is_in_time {
        assert_eq!(unchecked, [0, 0, 0]);
    }
    let surplus = found.len().saturating_sub(ids.len());
    assert!(u64::try_from(surplus).unwrap() <= unchecked.iter().sum::<u64>(), "{surplus} twice, {unchecked:?} told");
    found.dedup();
    let mut expected = ids;
    expected.sort_unstable();
    assert_eq!(found, expected);
    is_in_time
}

/// What is under way when a receiver dies may have been written, and nobody knows; everything else is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_killed_loses_no_event_and_only_what_it_was_at_may_be_written_twice() {
    until_redis_is_in_time(kill_one_of_three).await;
}

async fn kill_one_of_three() -> bool {
    const SENDERS: usize = 32;
    let requests = requests();
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let receiver = async || {
        let mut setup = Setup::new(connection(), &topic);
        share(&mut setup, &redis.url());
        // What it leaves reserved is written after twice as long.
        setup.config.patience = SHORT;
        setup.ready().await
    };
    let mut survivors = join_all((0..3).map(|_| receiver())).await;
    let mut victim = survivors.remove(0);
    let endpoints = [victim.endpoint, survivors[0].endpoint, survivors[1].endpoint];
    let ids: Vec<String> = (0..requests / 6).map(|_| fresh_id()).collect();
    let is_gone = AtomicBool::new(false);
    let replays = join_all((0..SENDERS).map(|_| async {
        let (senders, mut unanswered) = (endpoints.map(Sender::to), Vec::new());
        for _ in 0..requests / SENDERS {
            let alive = if is_gone.load(Ordering::Relaxed) { &senders[1..] } else { &senders[..] };
            let (sender, id) = (fastrand::choice(alive).unwrap(), fastrand::choice(&ids).unwrap());
            let Ok(answer) = sender.signed(SECRET, id, "{}").await else {
                is_gone.store(true, Ordering::Relaxed);
                unanswered.push(id.clone());
                continue;
            };
            assert!([202, 503].contains(&answer.status), "{answer:?}");
        }
        unanswered
    }));
    let kill = async {
        until(async || victim.status().await.accepted, |accepted| *accepted > 100).await;
        victim.kill();
    };
    let (unanswered, ()) = futures::join!(replays, kill);
    let unanswered: Vec<String> = unanswered.into_iter().flatten().collect();
    assert!((1..=SENDERS).contains(&unanswered.len()), "{unanswered:?}");

    for id in &ids {
        until(async || send(fastrand::choice(&survivors).unwrap(), id).await, |status| *status == 202).await;
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in written(&topic).await {
        *times.entry(id).or_default() += 1;
    }
    assert_eq!(times.keys().collect::<BTreeSet<_>>(), ids.iter().collect());
    if troubles(survivors.iter().chain([&victim])) > 0 {
        return false;
    }
    let may_be = |id: &String| 1 + usize::from(unanswered.contains(id));
    let too_often: Vec<_> = times.iter().filter(|(id, times)| **times > may_be(id)).collect();
    assert!(too_often.is_empty(), "{too_often:?} of {unanswered:?}");
    assert_eq!(unchecked(&survivors).await, [0, 0]);
    true
}

#[tokio::test]
async fn events_of_a_batch_are_written_in_order_whenever_redis_answers() {
    until_redis_is_in_time(send_batches).await;
}

async fn send_batches() -> bool {
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let receiver = async || {
        let mut setup = Setup::new(connection(), &topic);
        share(&mut setup, &redis.url());
        setup.config.verification = Verification::None;
        setup.config.event.cloud_events = CloudEvents::AcceptBatches;
        setup.ready().await
    };
    let send = async |receiver: &Running, ids: Vec<usize>| {
        let event =
            |id: &usize| json!({"specversion": "1.0", "id": id.to_string(), "source": "/a", "type": "t", "data": id});
        let batch = json!(ids.iter().map(event).collect::<Vec<_>>()).to_string();
        let sender = Sender::to(receiver.endpoint);
        let request = sender.request(Method::POST, PATH).header("content-type", "application/cloudevents-batch+json");
        sender.send(request.body(full(batch)).unwrap()).await.unwrap().status
    };
    let receivers = [receiver().await, receiver().await];
    // Of every second event Redis tells the other receiver that it is there.
    assert_eq!(send(&receivers[0], (0..200).step_by(2).collect()).await, 202);
    assert_eq!(send(&receivers[1], (0..200).collect()).await, 202);
    if troubles(&receivers) > 0 {
        return false;
    }
    let written: Vec<usize> = written(&topic).await.iter().map(|id| id.parse().unwrap()).collect();
    let expected: Vec<_> = (0..200).step_by(2).chain((1..200).step_by(2)).collect();
    assert_eq!(written, expected);
    true
}

#[tokio::test]
async fn what_a_receiver_left_reserved_when_it_died_is_written_when_the_reservation_ends() {
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let receiver = receiver(&topic, &redis.url()).await;
    assert_eq!(send(&receiver, "e-1").await, 202);
    // What a receiver leaves that is killed between its reservation and its confirmation.
    let key = redis.ask(&["KEYS", "*"]);
    let other = key.replace(&key[key.len() - 32..], &fingerprint("e-2"));
    assert_eq!(redis.ask(&["SET", &other, "reserved-by-a-dead-receiver", "PX", "5000"]), "OK");
    assert_eq!(send(&receiver, "e-2").await, 503);
    until(async || send(&receiver, "e-2").await, |status| *status == 202).await;
    assert_eq!(written(&topic).await, ["e-1", "e-2"]);
    assert_eq!(redis.ask(&["GET", &other]), "confirmed");
}

fn fingerprint(id: &str) -> String {
    use aws_lc_rs::digest::{SHA256, digest};
    hex::encode(&digest(&SHA256, format!("0 {id}").as_bytes()).as_ref()[..16])
}

/// Where it stands in Redis that an event was written.
fn key(id: &str) -> String {
    format!("sluice:shop/github:uid:{}", fingerprint(id))
}

/// For longer than a reservation lives that nobody renews.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_receiver_is_at_is_written_by_no_other_one_however_long_kafka_stands_still() {
    let cluster = patient_cluster("receiver-redis-still");
    until_redis_is_in_time(async || stand_still(&cluster).await).await;
}

async fn stand_still(cluster: &Cluster) -> bool {
    const STILL: std::time::Duration = std::time::Duration::from_secs(16);
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let redis = Redis::start(free_port()).await;
    let receiver = async || {
        let mut setup = Setup::new(kafka.clone(), &topic);
        share(&mut setup, &redis.url());
        // A reservation lives for not quite twelve seconds then.
        setup.config.patience = Duration::from_secs(5);
        setup.ready().await
    };
    let receivers = [receiver().await, receiver().await];
    let [one, other] = &receivers;
    for receiver in &receivers {
        until(async || send(receiver, "e-1").await, |status| *status == 202).await;
    }

    let (paused, start) = (Paused::broker(cluster), Instant::now());
    assert_eq!(send(one, "e-2").await, 503);
    let mut pace = interval(std::time::Duration::from_secs(2));
    while start.elapsed() < STILL {
        pace.tick().await;
        assert_eq!(send(other, "e-2").await, 503);
    }
    let noted = redis.ask(&["GET", &key("e-2")]);
    drop(paused);
    until(async || send(other, "e-2").await, |status| *status == 202).await;
    if troubles(&receivers) > 0 {
        return false;
    }
    assert!(noted.starts_with("reserved-"), "{noted}");
    assert_eq!(redis.ask(&["GET", &key("e-2")]), "confirmed");
    let written: Vec<_> = records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(written, ["e-1", "e-2"]);
    assert_eq!(unchecked(&receivers).await, [0, 0]);
    true
}

#[tokio::test]
async fn a_webhook_of_the_same_name_is_another_one() {
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let receiver = async |uid: &str| {
        let mut setup = Setup::new(connection(), &topic);
        share(&mut setup, &redis.url());
        setup.config.uid = uid.to_owned();
        setup.ready().await
    };
    for uid in ["here", "elsewhere", "here"] {
        assert_eq!(send(&receiver(uid).await, "e-1").await, 202);
    }
    assert_eq!(written(&topic).await, ["e-1", "e-1"]);
}

/// Whether what is sent to each of them is written once.
async fn judge_together(receivers: &[Running], topic: &str) {
    until_redis_is_in_time(async || {
        for receiver in receivers {
            until(async || receiver.status().await.redis_trouble, Option::is_none).await;
        }
        let (before, id) = (troubles(receivers), fresh_id());
        for receiver in receivers {
            assert_eq!(send(receiver, &id).await, 202);
        }
        let is_in_time = troubles(receivers) == before;
        let times = written(topic).await.into_iter().filter(|written| *written == id).count();
        assert!(times == 1 || !is_in_time, "{times} times");
        is_in_time
    })
    .await;
}

/// What `docs/receiving.md` promises of `rediss://`, of the Redis user's rights, and of an authority of one's own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_a_user_with_a_few_rights_is_enough_for_who_knows_the_authority() {
    const COMMANDS: [&str; 4] = ["eval", "get", "set", "del"];
    let topic = topic(&connection(), &[]).await;
    let (authority, port) = (authority(), free_port());
    let here = SanType::IpAddress(Ipv4Addr::LOCALHOST.into());
    let redis = Redis::secured(port, &issue(&authority, "redis", here)).await;
    let rights = COMMANDS.map(|command| format!("+{command}"));
    let user = ["ACL", "SETUSER", "sluice", "on", ">p@ss/word", "~sluice:*"].into_iter();
    let user: Vec<&str> = user.chain(rights.iter().map(String::as_str)).collect();
    assert_eq!(redis.ask(&user), "OK");

    let authorities = tempfile::tempdir().unwrap();
    fs::write(authorities.path().join("ca.crt"), authority.pem()).unwrap();
    let receiver = async |authorities: Option<&Path>| {
        let mut setup = Setup::new(connection(), &topic);
        share(&mut setup, &format!("rediss://sluice:p%40ss%2Fword@127.0.0.1:{port}/0\n"));
        setup.authorities = authorities.map(Path::to_owned);
        setup.ready().await
    };
    let stranger = receiver(None).await;
    let told = until(async || stranger.status().await.redis_trouble, Option::is_some).await.unwrap();
    assert!(told.contains("Redis does not answer"), "{told}");
    assert_eq!(redis.ask(&["DBSIZE"]), "0");

    let receivers = [receiver(Some(authorities.path())).await, receiver(Some(authorities.path())).await];
    for receiver in &receivers {
        let is_noted = async || {
            let id = fresh_id();
            (send(receiver, &id).await, redis.ask(&["GET", &key(&id)]))
        };
        until(is_noted, |(status, noted)| *status == 202 && noted == "confirmed").await;
    }
    judge_together(&receivers, &topic).await;
    let stats = async || redis.ask(&["INFO", "commandstats"]);
    let is_carried_out = |stats: &String| {
        let of = |command: &str| stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        COMMANDS.iter().all(|command| of(command).is_some_and(|calls| !calls.starts_with("0,")))
    };
    until(stats, is_carried_out).await;
    let connected = redis.ask(&["CLIENT", "LIST"]);
    assert!(connected.matches("user=sluice").count() >= receivers.len(), "{connected}");
}

/// Two receivers with ways of their own to the same Redis.
async fn receivers_by(ways: &[Way; 2], topic: &str) -> Vec<Running> {
    let receivers = join_all(ways.iter().map(|way| async move { receiver(topic, &url(way.port)).await })).await;
    judge_together(&receivers, topic).await;
    receivers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_vanishes_without_a_word_is_looked_for_where_its_address_leads_now() {
    let topic = topic(&connection(), &[]).await;
    let [redis, other] = [Redis::start(free_port()).await, Redis::start(free_port()).await];
    let ways = [Way::to(&redis).await, Way::to(&redis).await];
    let receivers = receivers_by(&ways, &topic).await;
    for (way, receiver) in ways.iter().zip(&receivers) {
        let before = way.connections();
        way.lead_to(&other);
        way.lose();
        assert_eq!(send(receiver, &fresh_id()).await, 202);
        let met = async || (way.connections(), receiver.status().await.redis_trouble);
        until(met, |(connections, trouble)| *connections > before && trouble.is_none()).await;
    }
    judge_together(&receivers, &topic).await;
    assert_ne!(other.ask(&["DBSIZE"]), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_a_replica_now_is_left_for_the_one_that_its_address_leads_to() {
    let topic = topic(&connection(), &[]).await;
    let [redis, other] = [Redis::start(free_port()).await, Redis::start(free_port()).await];
    let ways = [Way::to(&redis).await, Way::to(&redis).await];
    let receivers = receivers_by(&ways, &topic).await;
    let told = async |wanted: fn(&Option<String>) -> bool| {
        let each = receivers.iter().map(|receiver| async move {
            until(async || receiver.status().await.redis_trouble, wanted).await;
        });
        join_all(each).await;
    };

    // It takes no writes for a while.
    redis.follow(&other);
    told(Option::is_some).await;
    assert_eq!(redis.ask(&["REPLICAOF", "NO", "ONE"]), "OK");
    told(Option::is_none).await;
    judge_together(&receivers, &topic).await;

    // The other one takes its place, and nobody closes a connection.
    for way in &ways {
        way.lead_to(&other);
    }
    redis.follow(&other);
    told(Option::is_some).await;
    told(Option::is_none).await;
    judge_together(&receivers, &topic).await;
    assert_ne!(other.ask(&["DBSIZE"]), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_redis_misses_is_counted_and_noted_where_it_is_back_before_the_write_ends() {
    let cluster = patient_cluster("receiver-redis");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let port = free_port();
    let redis = Redis::start(port).await;
    let receiver = async || {
        let mut setup = Setup::new(kafka.clone(), &topic);
        share(&mut setup, &url(port));
        setup.config.patience = Duration::from_secs(25);
        setup.ready().await
    };
    let one = receiver().await;
    assert_eq!(send(&one, "e-1").await, 202);
    assert_eq!(one.status().await.unchecked, 0);

    // It goes between reservation and confirmation.
    let paused = Paused::broker(&cluster);
    let goes = async {
        until(async || redis.ask(&["EXISTS", &key("e-2")]), |answer| answer == "1").await;
        drop(redis);
        drop(paused);
    };
    assert_eq!(futures::join!(send(&one, "e-2"), goes).0, 202);
    assert_eq!(one.status().await.unchecked, 1);

    // It comes after the reservation.
    let paused = Paused::broker(&cluster);
    let comes = async {
        let begun = "events_remembered{namespace=\"shop\",webhook=\"github\"} 3";
        until(async || one.metrics().await, |metrics| metrics.contains(begun)).await;
        let redis = Redis::start(port).await;
        until(async || one.status().await.redis_trouble, Option::is_none).await;
        drop(paused);
        redis
    };
    let (status, redis) = futures::join!(send(&one, "e-3"), comes);
    assert_eq!((status, redis.ask(&["GET", &key("e-3")]).as_str()), (202, "confirmed"));
    assert_eq!(one.status().await.unchecked, 2, "each is counted once");
    assert_eq!(send(&receiver().await, "e-3").await, 202);
    let written: Vec<_> = records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(written, ["e-1", "e-2", "e-3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kafka_confirms_while_a_receiver_ends_is_noted_before_it_is_gone() {
    let cluster = patient_cluster("receiver-redis-end");
    let kafka = connection_to(cluster.kafka_bootstrap());
    let topic = topic(&kafka, &[]).await;
    let redis = Redis::start(free_port()).await;
    let mut setup = Setup::new(kafka.clone(), &topic);
    share(&mut setup, &redis.url());
    // Short, so that Kafka's answer still comes over the same connection: at once.
    setup.config.patience = Duration::from_millis(500);
    setup.drain_delay = Duration::from_secs(0);
    let mut receiver = setup.ready().await;
    until(async || send(&receiver, "e-1").await, |status| *status == 202).await;

    let paused = Paused::broker(&cluster);
    assert_eq!(send(&receiver, "e-2").await, 503);
    receiver.terminate();
    // From then on it waits for Kafka alone.
    until(async || TcpStream::connect(receiver.endpoint).await.is_ok(), |taken| !taken).await;
    // Redis answers later than Kafka, and not too late.
    assert_eq!(redis.ask(&["CLIENT", "PAUSE", "100"]), "OK");
    drop(paused);
    assert!(until_ended(&mut receiver).await.success());
    assert_eq!(redis.ask(&["GET", &key("e-2")]), "confirmed");
    let written: Vec<_> = records(&kafka, &topic).await.iter().map(|record| record.headers["ce_id"].clone()).collect();
    assert_eq!(written, ["e-1", "e-2"]);
}

#[tokio::test]
async fn while_redis_is_away_events_are_taken_counted_and_told() {
    let topic = topic(&connection(), &[]).await;
    let port = free_port();
    let redis = Redis::start(port).await;
    let url = redis.url();
    let receivers = join_all((0..2).map(|_| receiver(&topic, &url))).await;
    assert_eq!((send(&receivers[0], "e-1").await, send(&receivers[1], "e-1").await), (202, 202));
    drop(redis);
    assert_eq!((send(&receivers[0], "e-2").await, send(&receivers[1], "e-2").await), (202, 202));
    for receiver in &receivers {
        let status = receiver.status().await;
        assert_eq!(status.unchecked, 1);
        assert!(status.trouble.unwrap().contains("Redis does not answer"));
        assert!(receiver.is_ready().await);
    }
    assert_eq!(written(&topic).await, ["e-1", "e-2", "e-2"]);

    let _redis = Redis::start(port).await;
    let answers = async || {
        send(&receivers[0], &fresh_id()).await;
        receivers[0].status().await.trouble
    };
    until(answers, Option::is_none).await;
    let id = fresh_id();
    until(
        async || send(&receivers[1], &fresh_id()).await == 202 && receivers[1].status().await.trouble.is_none(),
        |well| *well,
    )
    .await;
    assert_eq!((send(&receivers[0], &id).await, send(&receivers[1], &id).await), (202, 202));
    assert_eq!(written(&topic).await.iter().filter(|written| **written == id).collect::<Vec<_>>(), [&id]);
}

#[tokio::test]
async fn that_redis_is_gone_or_back_is_told_where_nobody_sends() {
    let topic = topic(&connection(), &[]).await;
    let port = free_port();
    let redis = Redis::start(port).await;
    let receiver = receiver(&topic, &redis.url()).await;
    assert_eq!(receiver.status().await.redis_trouble, None);
    drop(redis);
    let told = until(async || receiver.status().await.redis_trouble, Option::is_some).await.unwrap();
    assert!(told.contains("Redis does not answer"), "{told}");
    let redis = Redis::start(port).await;
    until(async || receiver.status().await.redis_trouble, Option::is_none).await;
    assert_eq!(redis.ask(&["KEYS", "*"]), "", "nothing is left behind");
    assert_eq!(receiver.status().await.unchecked, 0);
}

#[tokio::test]
async fn an_address_that_cannot_be_read_is_told_and_used_when_it_comes() {
    let topic = topic(&connection(), &[]).await;
    let redis = Redis::start(free_port()).await;
    let mut setup = Setup::new(connection(), &topic);
    let file = setup.secret("redis");
    setup.config.deduplication_redis = Some(file.clone());
    let receiver = setup.ready().await;
    assert_eq!(send(&receiver, &fresh_id()).await, 202);
    assert!(receiver.status().await.trouble.unwrap().contains(file.to_str().unwrap()));
    fs::write(&file, redis.url()).unwrap();
    let answers = async || {
        send(&receiver, &fresh_id()).await;
        receiver.status().await.trouble
    };
    until(answers, Option::is_none).await;
    assert_eq!(send(&receiver, &fresh_id()).await, 202);
    assert!(!redis.ask(&["KEYS", "sluice:shop/github:*"]).is_empty());
    let ids: BTreeSet<_> = written(&topic).await.into_iter().collect();
    assert!(ids.len() >= 2, "{ids:?}");
}
