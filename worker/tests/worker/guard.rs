//! What a worker does not call, whatever its sink says.

use sluice_crds::{Delivery, Duration as Text, OutgoingCalls, Retry, wire::WorkerConfig};

use crate::{
    api::Api,
    kafka::{Place, Seen},
    running::{Worker, config, numbered},
};

#[tokio::test]
async fn an_api_on_this_machine_is_not_called_by_address_or_name() {
    for host in ["127.0.0.1", "localhost"] {
        let (place, api) = (Place::new("guard", 1).await, Api::willing().await);
        let usual = config(&place, &api.url.replace("127.0.0.1", host));
        let retry = Retry { max_attempts: 2, ..usual.delivery.retry.clone() };
        let delivery = Delivery { retry, ..usual.delivery.clone() };
        let _worker = Worker::start(&WorkerConfig { delivery, outgoing: OutgoingCalls::default(), ..usual });
        place.write(numbered(0..1)).await;
        let letter = place.dead_letters(1).await.remove(0);
        assert_eq!(header(&letter, "sluice-error-code"), "Forbidden");
        let message = header(&letter, "sluice-error-message");
        assert!(message.contains("is an address of this machine"), "{message}");
        assert!(api.requests().is_empty(), "{host} was called");
    }
}

#[tokio::test]
async fn networks_that_the_platform_team_denies_are_not_called_and_those_that_it_allows_are() {
    let (place, api) = (Place::new("denied", 1).await, Api::willing().await);
    let networks = |networks: &[&str]| networks.iter().map(|network| network.parse().unwrap()).collect();
    let outgoing = OutgoingCalls { allow: networks(&["127.0.0.0/8"]), deny: networks(&["0.0.0.0/0"]) };
    let calling = |url: &str| {
        let usual = config(&place, url);
        let retry = Retry { max_attempts: 2, ..usual.delivery.retry.clone() };
        let delivery = Delivery { retry, timeout: Text::from_secs(2), ..usual.delivery.clone() };
        WorkerConfig { delivery, outgoing: outgoing.clone(), ..usual }
    };
    let worker = Worker::start(&calling(&api.url));
    place.write(numbered(0..10)).await;
    api.until_numbers(10).await;
    worker.terminate();
    assert!(worker.ended().await.success());

    // One of the addresses for documentation, which nobody has.
    let _worker = Worker::start(&calling("http://192.0.2.7/entries"));
    place.write(numbered(10..11)).await;
    let letter = place.dead_letters(1).await.remove(0);
    assert_eq!(header(&letter, "sluice-error-code"), "Forbidden");
    let message = header(&letter, "sluice-error-message");
    assert!(message.contains("192.0.2.7 lies in 0.0.0.0/0, which `outgoing.deny`"), "{message}");
    assert_eq!(api.requests().len(), 10);
}

fn header(letter: &Seen, name: &str) -> String {
    let (_, value) = letter.headers.iter().find(|(found, _)| found == name).unwrap();
    String::from_utf8(value.clone().unwrap()).unwrap()
}
