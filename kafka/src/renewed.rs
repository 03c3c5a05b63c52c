//! A client in whose place a new one comes when its credentials were rotated.

use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};

use sluice_crds::KafkaConnection;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::{Error, credentials_fingerprint};

/// A client that is made anew when the files of its connection change.
///
/// Who has the former one may go on with it: it ends with the last of its clones. While new files cannot be used the former one stays.
pub struct Renewed<C> {
    client: RwLock<C>,
}

/// Mounted files change up to 90 s after their Secret: another second or two is soon.
const LOOK_EVERY: Duration = Duration::from_secs(2);

impl<C: Clone + Send + Sync + 'static> Renewed<C> {
    /// Makes the client, and looks after its credentials for as long as anybody has the result. It is called within tokio.
    ///
    /// Errors: those of `make`.
    pub fn connect(
        connection: &KafkaConnection,
        make: impl Fn(&KafkaConnection) -> Result<C, Error> + Send + Sync + 'static,
    ) -> Result<Arc<Self>, Error> {
        // Before the files are read, so that a change in between is seen.
        let fingerprint = credentials_fingerprint(connection);
        let renewed = Arc::new(Self { client: RwLock::new(make(connection)?) });
        tokio::spawn(look_after(Arc::downgrade(&renewed), connection.clone(), fingerprint, make));
        Ok(renewed)
    }

    /// The newest client.
    pub fn client(&self) -> C {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn look_after<C: Clone + Send + Sync + 'static>(
    renewed: Weak<Renewed<C>>,
    connection: KafkaConnection,
    mut fingerprint: u64,
    make: impl Fn(&KafkaConnection) -> Result<C, Error> + Send + Sync + 'static,
) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(renewed) = renewed.upgrade() else { return };
        let current = credentials_fingerprint(&connection);
        if current == fingerprint {
            continue;
        }
        fingerprint = current;
        match make(&connection) {
            Ok(client) => {
                info!("The Kafka credentials have changed: going on with a client that has the new ones");
                *renewed.client.write().unwrap_or_else(PoisonError::into_inner) = client;
            }
            Err(error) => warn!("The Kafka credentials have changed and cannot be used: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sluice_crds::{SaslMechanism, SecurityProtocol};
    use tokio::time::sleep;

    use super::*;
    use crate::client_config;

    #[tokio::test(start_paused = true)]
    #[allow(clippy::disallowed_methods, reason = "its clock stands still but for this")]
    async fn a_new_client_comes_with_new_credentials_and_stays_while_others_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let write = |password: &str| fs::write(folder.path().join("password"), password).unwrap();
        fs::write(folder.path().join("username"), "sluice").unwrap();
        write("first");
        let connection = KafkaConnection {
            bootstrap_servers: vec!["a:9092".into()],
            security_protocol: SecurityProtocol::SaslPlaintext,
            sasl_mechanism: Some(SaslMechanism::ScramSha512),
            credentials: Some(folder.path().into()),
            ..KafkaConnection::default()
        };
        let password = |connection: &KafkaConnection| -> Result<String, Error> {
            Ok(client_config(connection)?.get("sasl.password").unwrap_or_default().to_owned())
        };
        let renewed = Renewed::connect(&connection, password).unwrap();
        assert_eq!(renewed.client(), "first");
        write("second");
        sleep(LOOK_EVERY * 2).await;
        assert_eq!(renewed.client(), "second");
        fs::remove_file(folder.path().join("password")).unwrap();
        sleep(LOOK_EVERY * 2).await;
        assert_eq!(renewed.client(), "second");
        write("third");
        sleep(LOOK_EVERY * 2).await;
        assert_eq!(renewed.client(), "third");
    }
}
