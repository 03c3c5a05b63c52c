//! How a worker proves to an API who it is: Secrets that come late and are rotated.

use sluice_crds::wire::{AuthConfig, HttpSinkConfig, KeyPlace, SinkConfig, WorkerConfig};

use crate::{
    api::{Api, Request, status},
    kafka::Place,
    mounted::Mounted,
    running::{Worker, config, numbered},
    until,
};

/// A worker's configuration with this scheme.
pub(crate) fn with_auth(place: &Place, url: &str, auth: AuthConfig) -> WorkerConfig {
    let sink = HttpSinkConfig { auth: Some(auth), ..HttpSinkConfig::new(url) };
    WorkerConfig { sink: SinkConfig::Http(sink), ..config(place, url) }
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

#[tokio::test]
async fn each_scheme_puts_its_secret_where_it_belongs() {
    let mounted = Mounted::new();
    mounted.write("ledger", &[("token", "t0ken\n"), ("user", "me"), ("password", "pa:ss\n"), ("key", "k&y")]);
    let file = |key: &str| mounted.file("ledger", key);
    let key = |place: KeyPlace| AuthConfig::ApiKey { place, key: file("key") };
    let schemes = [
        (AuthConfig::Bearer { token: file("token") }, ["POST /entries", "Bearer t0ken", ""]),
        (
            AuthConfig::Basic { username: file("user"), password: file("password") },
            ["POST /entries", "Basic bWU6cGE6c3M=", ""],
        ),
        (key(KeyPlace::Header("X-Api-Key".into())), ["POST /entries", "", "k&y"]),
        (key(KeyPlace::Query("key".into())), ["POST /entries?key=k%26y", "", ""]),
    ];
    for (auth, expected) in schemes {
        let (place, api) = (Place::new("schemes", 1).await, Api::willing().await);
        let _worker = Worker::start(&with_auth(&place, &api.url, auth));
        place.write(numbered(0..1)).await;
        api.until_numbers(1).await;
        let request = &api.requests()[0];
        assert_eq!([&request.line, header(request, "authorization"), header(request, "x-api-key")], expected);
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_is_named_and_waited_for() {
    let (place, api, mounted) = (Place::new("missing", 1).await, Api::willing().await, Mounted::new());
    let auth = AuthConfig::Bearer { token: mounted.file("ledger", "token") };
    let worker = Worker::start(&with_auth(&place, &api.url, auth));
    place.write(numbered(0..1)).await;
    let says = |text: &'static str| {
        let worker = &worker;
        async move {
            worker.until_status(text, |told| told.trouble.as_ref().is_some_and(|trouble| trouble.contains(text))).await
        }
    };
    let unusable = async |number: u8| {
        let (_, metrics) = worker.get("/metrics").await;
        let of_secrets = |line: &&str| line.starts_with("sluice_worker_secrets_unusable{");
        let line = metrics.lines().find(of_secrets).unwrap();
        assert!(line.ends_with(&format!(" {number}")), "{line}");
    };
    says("there is no Secret \"ledger\" in this namespace").await;
    unusable(1).await;
    mounted.write("ledger", &[("tokn", "t0ken")]);
    says("the Secret \"ledger\" has no key \"token\"; it has: tokn").await;
    mounted.write("ledger", &[("token", "t0ken")]);
    api.until_numbers(1).await;
    place.until_no_lag().await;
    let told = worker.until_status("no trouble", |told| told.trouble.is_none()).await;
    assert_eq!((told.retries, told.dead_lettered), (0, 0));
    unusable(0).await;
}

#[tokio::test]
async fn a_rotated_secret_is_used_without_a_restart_and_a_broken_one_is_not() {
    let (place, mounted) = (Place::new("rotated", 1).await, Mounted::new());
    let api = Api::willing().await;
    mounted.write("ledger", &[("token", "one")]);
    let auth = AuthConfig::Bearer { token: mounted.file("ledger", "token") };
    let worker = Worker::start(&with_auth(&place, &api.url, auth));
    let mut records = numbered(0..1_000_000);
    let mut until_sent_with = async |token: &'static str| {
        let last = async || api.requests().last().map(|request| header(request, "authorization").to_owned());
        let wanted = Some(format!("Bearer {token}"));
        loop {
            let sent = api.requests().len();
            place.write(records.next()).await;
            until("one more request", async || api.requests().len(), |now| *now > sent).await;
            if last().await == wanted {
                return;
            }
        }
    };
    until_sent_with("one").await;
    mounted.write("ledger", &[("token", "two")]);
    until_sent_with("two").await;
    mounted.write("ledger", &[("token", "\n")]);
    let broken = |told: &sluice_crds::wire::WorkerStatus| {
        told.trouble
            .as_ref()
            .is_some_and(|trouble| trouble.contains("the key \"token\" of the Secret \"ledger\" is empty"))
    };
    worker.until_status("the broken Secret is named", broken).await;
    until_sent_with("two").await;
    mounted.write("ledger", &[("token", "three")]);
    until_sent_with("three").await;
    worker.until_status("no trouble", |told| told.trouble.is_none()).await;
    assert_eq!(worker.status().await.retries, 0);
}

#[tokio::test]
async fn an_api_that_tells_what_it_was_sent_tells_no_secret() {
    let (place, mounted) = (Place::new("telling", 1).await, Mounted::new());
    let api = Api::scripted(|request| {
        let body = format!("{} {}", header(request, "authorization"), request.line).into();
        crate::api::Answer { body, ..status(400) }
    })
    .await;
    mounted.write("ledger", &[("token", "t0ken-t0ken")]);
    let auth = AuthConfig::Bearer { token: mounted.file("ledger", "token") };
    let worker = Worker::start(&with_auth(&place, &api.url, auth));
    place.write(numbered(0..1)).await;
    let letters = place.dead_letters(1).await;
    let (_, message) = letters[0].headers.iter().find(|(name, _)| name == "sluice-error-message").unwrap();
    let message = String::from_utf8(message.clone().unwrap()).unwrap();
    assert_eq!(message, "the API answered 400 Bad Request: Bearer *** POST /entries");
    assert!(!worker.logged("t0ken-t0ken"));
}
