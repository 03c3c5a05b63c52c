//! An independent API that fails in every way: WireMock.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sluice_cluster::testing;

use crate::{
    kafka::Place,
    oauth2::free_port,
    running::{Worker, config},
    until,
};

/// The folder with the program.
fn program() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies", "-DoutputDirectory=."]);
        let files = [("pom.xml", include_str!("../foreign/wiremock.xml"))];
        testing::prepared("wiremock", &files, &mut [maven]).expect("Maven downloads WireMock")
    });
    &FOLDER
}

/// A WireMock that runs until it is dropped.
pub(crate) struct WireMock {
    process: Child,
    address: String,
    client: reqwest::Client,
}

/// A request that came, and what it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Of the record.
    pub(crate) kind: String,
    /// Of the record.
    pub(crate) n: i64,
    /// Milliseconds since 1970.
    at: i64,
    pub(crate) status: i64,
    retry_after: Option<String>,
}

impl Exchange {
    /// `None`: its sender was killed before it had sent all of it.
    fn read(entry: &Value) -> Option<Self> {
        let body: Value = serde_json::from_str(entry["request"]["body"].as_str()?).ok()?;
        let response = &entry["response"];
        Some(Self {
            kind: body["kind"].as_str().unwrap().to_owned(),
            n: body["n"].as_i64().unwrap(),
            at: entry["request"]["loggedDate"].as_i64().unwrap(),
            status: response["status"].as_i64().unwrap_or_default(),
            retry_after: response["headers"]["Retry-After"].as_str().map(str::to_owned),
        })
    }

    /// Before this time it asked to be left alone.
    fn asked_until(&self) -> Option<i64> {
        let text = self.retry_after.as_ref()?;
        if let Ok(seconds) = text.parse::<i64>() {
            return Some(self.at + seconds * 1_000);
        }
        let date = httpdate::parse_http_date(text).unwrap().duration_since(UNIX_EPOCH).unwrap();
        Some(i64::try_from(date.as_millis()).unwrap())
    }
}

impl Drop for WireMock {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl WireMock {
    pub(crate) async fn start() -> Self {
        // Only the first call installs it.
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let port = free_port();
        let process = Command::new("java")
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", "wiremock-standalone-3.13.1.jar"])
            .args(["--bind-address", "127.0.0.1", "--port", &port.to_string(), "--disable-banner"])
            .current_dir(program())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(2)).build().unwrap();
        let wiremock = Self { process, address: format!("http://127.0.0.1:{port}"), client };
        let answers = async || {
            let mappings = format!("{}/__admin/mappings", wiremock.address);
            wiremock.client.get(mappings).send().await.map(|answer| answer.status().as_u16()).ok()
        };
        until("WireMock answers", answers, |status| *status == Some(200)).await;
        wiremock
    }

    /// Where records are delivered to.
    pub(crate) fn url(&self) -> String {
        format!("{}/entries", self.address)
    }

    async fn tell(&self, path: &str, order: &Value) -> String {
        let request = self.client.post(format!("{}/__admin/{path}", self.address)).body(order.to_string());
        let answer = request.header("content-type", "application/json").send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path} {order}: {text}");
        text
    }

    /// How records of this kind are answered from now on, until something else is said.
    pub(crate) async fn answers(&self, kind: &str, priority: u32, response: Value) {
        let body = [json!({"matchesJsonPath": {"expression": "$.kind", "equalTo": kind}})];
        let request = json!({"method": "POST", "urlPath": "/entries", "bodyPatterns": body});
        self.tell("mappings", &json!({"priority": priority, "request": request, "response": response})).await;
    }

    /// How many requests came.
    pub(crate) async fn count(&self) -> u64 {
        let counted = self.tell("requests/count", &json!({"method": "POST", "urlPath": "/entries"})).await;
        serde_json::from_str::<Value>(&counted).unwrap()["count"].as_u64().unwrap()
    }

    /// The requests that came, in order.
    pub(crate) async fn journal(&self) -> Vec<Exchange> {
        let answer = self.client.get(format!("{}/__admin/requests", self.address)).send().await.unwrap();
        let journal: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        // The newest stands first.
        let exchanges = journal["requests"].as_array().unwrap().iter().rev().filter_map(Exchange::read);
        let mut journal: Vec<_> = exchanges.collect();
        journal.sort_by_key(|exchange| exchange.at);
        journal
    }
}

/// How long an attempt may take, in milliseconds: longer than WireMock takes for an answer for which it has to load its classes first.
const PATIENCE: u64 = 5_000;

/// Every way in which an API fails to take a record that it may take later.
fn failures() -> Vec<(&'static str, Value)> {
    let in_two_seconds = "{{now offset='2 seconds' timezone='GMT' format='EEE, dd MMM yyyy HH:mm:ss z'}}";
    let date =
        json!({"status": 429, "headers": {"Retry-After": in_two_seconds}, "transformers": ["response-template"]});
    vec![
        ("reset", json!({"fault": "CONNECTION_RESET_BY_PEER"})),
        ("empty", json!({"fault": "EMPTY_RESPONSE"})),
        ("garbage", json!({"fault": "RANDOM_DATA_THEN_CLOSE"})),
        ("late", json!({"status": 200, "fixedDelayMilliseconds": 2 * PATIENCE})),
        ("seconds", json!({"status": 429, "headers": {"Retry-After": "1"}})),
        ("date", date),
        ("away", json!({"status": 503})),
        ("broken", json!({"status": 500, "body": "x".repeat(100_000)})),
    ]
}

#[tokio::test]
async fn an_api_that_fails_in_every_way_loses_nothing_and_no_order() {
    const EACH: u8 = 5;
    let (place, wiremock) = (Place::new("wiremock", 2).await, WireMock::start().await);
    let failures = failures();
    for (kind, response) in &failures {
        wiremock.answers(kind, 5, response.clone()).await;
    }
    // Its status has come before it breaks off: the record is taken.
    wiremock.answers("chunk", 5, json!({"status": 200, "fault": "MALFORMED_RESPONSE_CHUNK"})).await;
    let mut config = config(&place, &wiremock.url());
    config.delivery.timeout = sluice_crds::Duration::from_millis(PATIENCE);
    let worker = Worker::start(&config);
    let kinds: Vec<_> = failures.iter().map(|(kind, _)| *kind).chain(["chunk"]).collect();
    let records = (0..EACH).flat_map(|n| kinds.iter().map(move |kind| (kind, n)));
    place.write(records.map(|(kind, n)| ((*kind).to_owned(), json!({"kind": kind, "n": n}).to_string()))).await;

    let attempts = async || {
        let mut attempts = BTreeMap::<String, usize>::new();
        for exchange in wiremock.journal().await {
            *attempts.entry(exchange.kind).or_default() += 1;
        }
        attempts
    };
    let each_repeated = |seen: &BTreeMap<String, usize>| {
        failures.iter().all(|(kind, _)| seen.get(*kind).is_some_and(|attempts| *attempts >= 2))
    };
    until("each failure was met and met again", attempts, each_repeated).await;
    worker.until_status("only what was answered is delivered", |told| told.delivered == u64::from(EACH)).await;
    for (kind, _) in &failures {
        wiremock.answers(kind, 1, json!({"status": 201})).await;
    }
    place.until_no_lag().await;

    let all = u64::from(EACH) * kinds.len() as u64;
    let told = worker.until_status("all is settled", |told| told.received == all && told.unsettled == 0).await;
    assert_eq!((told.received, told.delivered, told.dead_lettered), (all, all, 0));
    let journal = wiremock.journal().await;
    let of = |kind: &'static str| journal.iter().filter(move |exchange| exchange.kind == kind);
    for kind in kinds {
        let numbers: Vec<_> = of(kind).map(|exchange| exchange.n).collect();
        assert!(numbers.is_sorted(), "{kind}: {numbers:?}");
        assert_eq!(numbers.last(), Some(&i64::from(EACH - 1)), "{kind}");
    }
    for kind in ["seconds", "date"] {
        let exchanges: Vec<_> = of(kind).collect();
        let asked = exchanges.windows(2).filter_map(|pair| Some((pair[0].asked_until()?, pair[1].at)));
        let asked: Vec<_> = asked.collect();
        assert!(!asked.is_empty(), "{kind}");
        assert!(asked.iter().all(|(until, next)| *next >= until - 10), "{kind}: {asked:?}");
    }
}
