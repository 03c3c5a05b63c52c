//! What a worker does not call, whatever its sink says.

use sluice_crds::{Delivery, OutgoingCalls, Retry, wire::WorkerConfig};

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

fn header(letter: &Seen, name: &str) -> String {
    let (_, value) = letter.headers.iter().find(|(found, _)| found == name).unwrap();
    String::from_utf8(value.clone().unwrap()).unwrap()
}
