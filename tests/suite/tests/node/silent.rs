//! What is shown of workers that cannot be asked, and of those that have counted nothing yet: never a number that is not so.

use kube::Api;
use sluice_cluster::Target;
use sluice_crds::{Integration, IntegrationStatus};
use sluice_suite::{Shop, install::ROLLOUT, until};

use crate::{kill_process_of, lag, signal_process_of, worker, write};

/// Records before the worker is killed. Counted again, they would be a higher rate than all that come after it, over two minutes too.
const BEFORE: usize = 3_000;
const AFTER: usize = 10;
/// Their rate, had all of them been delivered in one second.
const AFTER_AT_ONCE: f64 = 10.0;

/// Waits until the status is as `judge` wants it; `Err` says what it sees instead.
pub(crate) async fn shows<T>(shop: &Shop, what: &str, judge: impl Fn(&IntegrationStatus) -> Result<T, String>) -> T {
    let api = Api::<Integration>::namespaced(shop.client.clone(), &shop.namespace);
    until(what, 2 * ROLLOUT, || async {
        let integration = api.get("payments-to-ledger").await.map_err(|error| error.to_string())?;
        judge(&integration.status.unwrap_or_default())
    })
    .await
    .unwrap()
}

/// Records per second as a status says it; `None` where it says no number.
pub(crate) fn number(rate: Option<&String>) -> Option<f64> {
    let text = rate?.strip_suffix("/s")?.trim_start_matches('<');
    match text.strip_suffix('k') {
        Some(thousands) => Some(thousands.parse::<f64>().ok()? * 1_000.0),
        None => text.parse().ok(),
    }
}

#[tokio::test]
async fn while_a_worker_hangs_its_numbers_are_unknown_and_one_that_was_killed_is_not_counted_again() {
    let shop = Shop::open("silent", |_| ()).await.unwrap();
    let Target::Local(_) = shop.target else {
        println!("processes of another machine are not stopped");
        return;
    };
    write(&shop, 0..BEFORE).await;
    shop.ledger_has(BEFORE).await.unwrap();
    let says = |status: &IntegrationStatus| Err(format!("{status:?}"));
    shows(&shop, "a rate is known", |status| {
        if number(status.rate.as_ref()).is_some_and(|rate| rate > 0.0) { Ok(()) } else { says(status) }
    })
    .await;

    let pod = worker(&shop).await;
    assert!(signal_process_of(&pod, "-STOP"), "the worker runs");
    shows(&shop, "its numbers are unknown", |status| {
        let numbers = [&status.rate, &status.error_rate, &status.dead_letter_rate, &status.in_flight, &status.circuit];
        if numbers.iter().all(|number| number.as_deref() == Some("unknown")) { Ok(()) } else { says(status) }
    })
    .await;
    // Kubernetes may have ended it meanwhile, and started another one.
    signal_process_of(&pod, "-CONT");
    shows(&shop, "its rate is a number again", |status| {
        if number(status.rate.as_ref()).is_some() { Ok(()) } else { says(status) }
    })
    .await;

    shows(&shop, "nothing moves any more", |status| {
        if status.rate.as_deref() == Some("0/s") && status.lag.as_deref() == Some("0") { Ok(()) } else { says(status) }
    })
    .await;
    kill_process_of(&pod);
    write(&shop, BEFORE..BEFORE + AFTER).await;
    shows(&shop, "what came after it is shown", |status| match number(status.rate.as_ref()) {
        Some(rate) if rate > AFTER_AT_ONCE => panic!("no more than {AFTER} were delivered: {status:?}"),
        Some(rate) if rate > 0.0 => Ok(()),
        _ => says(status),
    })
    .await;
    shop.ledger_has(BEFORE + AFTER).await.unwrap();
    shop.integration_until(
        "lag is 0",
        |integration| if lag(integration) == "0" { Ok(()) } else { Err(lag(integration)) },
    )
    .await
    .unwrap();
}
