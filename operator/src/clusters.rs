//! The Kafka clusters of the configuration, each with one client that all passes share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sluice_crds::{AdminRequests, KafkaConnection, Settings};
use sluice_kafka::{Admin, Batching, Company, Made, Presence, TopicAdmin, credentials_fingerprint};

use crate::{error::Error, leader::Leadership};

/// A client for each Kafka cluster, made when it is first asked for.
pub struct Clusters {
    connections: BTreeMap<String, KafkaConnection>,
    /// The passes under way over Topics of each.
    passes: BTreeMap<String, Company>,
    batching: Batching,
    timeout: Duration,
    leadership: Leadership,
    clients: Mutex<HashMap<String, Connected>>,
}

struct Connected {
    client: TopicAdmin,
    /// Of the credentials that the client was made from.
    fingerprint: u64,
}

impl Clusters {
    /// No connection is made yet. A replica that does not lead sends nothing.
    pub fn new(settings: &Settings, leadership: Leadership) -> Self {
        let AdminRequests { max_topics, linger, timeout, .. } = settings.admin_requests;
        Self {
            connections: settings
                .clusters
                .iter()
                .map(|(name, entry)| (name.clone(), entry.connection.clone()))
                .collect(),
            passes: settings.clusters.keys().map(|name| (name.clone(), Company::default())).collect(),
            batching: Batching { max_topics: max_topics.into(), linger: linger.get() },
            timeout: timeout.get(),
            leadership,
            clients: Mutex::default(),
        }
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.connections.keys()
    }

    /// A pass over a Topic of that cluster begins, and goes on until this is dropped: calls about other topics wait for its calls.
    pub fn pass_begins(&self, cluster: &str) -> Option<Presence> {
        self.passes.get(cluster).map(Company::join)
    }

    /// The requests made so far to a cluster.
    pub fn requests_made(&self, cluster: &str) -> BTreeMap<Made, u64> {
        let clients = self.clients();
        clients.get(cluster).map(|connected| connected.client.admin().requests_made()).unwrap_or_default()
    }

    /// For calls about one topic each, which share their requests. Error: the cluster's credentials cannot be read.
    pub fn topics(&self, cluster: &str) -> Result<TopicAdmin, Error> {
        let mut clients = self.clients();
        if let Some(connected) = clients.get(cluster) {
            return Ok(connected.client.clone());
        }
        let connected = self.connect(cluster, |admin| admin)?;
        let client = connected.client.clone();
        clients.insert(cluster.to_owned(), connected);
        Ok(client)
    }

    /// The client of a cluster that was asked for before.
    pub fn connected(&self, cluster: &str) -> Option<Admin> {
        self.clients().get(cluster).map(|connected| connected.client.admin().clone())
    }

    /// For calls about many things. Error: the cluster's credentials cannot be read.
    pub fn client(&self, cluster: &str) -> Result<Admin, Error> {
        Ok(self.topics(cluster)?.admin().clone())
    }

    /// Puts a new client in the place of one whose credentials have changed since; says whether it did.
    pub fn renew(&self, cluster: &str) -> Result<bool, Error> {
        let now = credentials_fingerprint(&self.connection(cluster));
        self.replace_where(cluster, |connected| connected.fingerprint != now)
    }

    /// Puts a new client in the place of the one that there is; says whether there was one.
    pub fn replace(&self, cluster: &str) -> Result<bool, Error> {
        self.replace_where(cluster, |_| true)
    }

    fn replace_where(&self, cluster: &str, is_old: impl FnOnce(&Connected) -> bool) -> Result<bool, Error> {
        let mut clients = self.clients();
        let Some(connected) = clients.get_mut(cluster).filter(|connected| is_old(connected)) else { return Ok(false) };
        *connected = self.connect(cluster, |admin| admin.in_place_of(connected.client.admin()))?;
        Ok(true)
    }

    fn connect(&self, cluster: &str, finish: impl FnOnce(Admin) -> Admin) -> Result<Connected, Error> {
        let connection = self.connection(cluster);
        let fingerprint = credentials_fingerprint(&connection);
        let leadership = self.leadership.clone();
        let admin = Admin::connect(&connection)
            .map_err(|source| Error::Kafka { cluster: cluster.to_owned(), source })?
            .with_timeout(self.timeout)
            .only_with(move |changes| leadership.permit(changes));
        let passes = self.passes.get(cluster).cloned().unwrap_or_default();
        Ok(Connected { client: TopicAdmin::in_company(finish(admin), self.batching, &passes), fingerprint })
    }

    /// How to reach a cluster.
    pub fn connection(&self, cluster: &str) -> KafkaConnection {
        self.connections.get(cluster).cloned().unwrap_or_default()
    }

    /// What the lock guards is whole after each statement, so a panic elsewhere does not spoil it.
    fn clients(&self) -> MutexGuard<'_, HashMap<String, Connected>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
