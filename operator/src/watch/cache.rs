//! What the watches have told, by namespace and name, and what has changed since they told it before.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use kube::runtime::watcher::Event;
use sluice_crds::NamespacedName;

/// Something that a watch tells.
pub trait Versioned: Clone {
    /// Its resource version.
    fn version(&self) -> Option<&str>;
}

/// What the watches of a kind have told.
#[derive(Debug)]
pub struct Cache<V> {
    objects: RwLock<BTreeMap<NamespacedName, V>>,
}

/// One object as it was and as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Change<V> {
    /// Its name.
    pub name: NamespacedName,
    /// What was known of it.
    pub before: Option<V>,
    /// What is known now; `None` where it is gone.
    pub after: Option<V>,
}

impl<V> Default for Cache<V> {
    fn default() -> Self {
        Self { objects: RwLock::default() }
    }
}

impl<V: Clone> Cache<V> {
    /// What is known of an object.
    pub fn get(&self, name: &NamespacedName) -> Option<V> {
        self.read().get(name).cloned()
    }

    /// All objects, with their names.
    pub fn all(&self) -> Vec<(NamespacedName, V)> {
        self.read().iter().map(|(name, object)| (name.clone(), object.clone())).collect()
    }

    /// How many objects there are, and how many of them are such.
    pub fn count(&self, is_such: impl Fn(&V) -> bool) -> (usize, usize) {
        let objects = self.read();
        (objects.len(), objects.values().filter(|object| is_such(object)).count())
    }

    /// The objects that are wanted, with their names.
    pub fn where_is(&self, wanted: impl Fn(&V) -> bool) -> Vec<(NamespacedName, V)> {
        let objects = self.read();
        let found = objects.iter().filter(|(_, object)| wanted(object));
        found.map(|(name, object)| (name.clone(), object.clone())).collect()
    }

    /// The objects of a namespace, with their names.
    pub fn of_namespace(&self, namespace: &str) -> Vec<(NamespacedName, V)> {
        let objects = self.read();
        let first = NamespacedName { namespace: namespace.to_owned(), name: String::new() };
        let of_namespace = objects.range(first..).take_while(|(name, _)| name.namespace == namespace);
        of_namespace.map(|(name, object)| (name.clone(), object.clone())).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<NamespacedName, V>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<NamespacedName, V>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One watch that fills a cache.
#[derive(Debug)]
pub struct Feed<V> {
    cache: Arc<Cache<V>>,
    /// The namespace that is watched; all of them where there is none.
    namespace: Option<String>,
    listed: BTreeMap<NamespacedName, V>,
}

impl<V: Versioned> Feed<V> {
    /// Fills the cache's part that is watched.
    pub fn new(cache: Arc<Cache<V>>, namespace: Option<String>) -> Self {
        Self { cache, namespace, listed: BTreeMap::new() }
    }

    /// Takes what the watch tells, and gives back what has changed. A watch that had to begin anew changes only what differs:
    /// it may have missed anything, also that something is gone.
    pub fn take(&mut self, event: Event<(NamespacedName, V)>) -> Vec<Change<V>> {
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply((name, object)) => {
                self.listed.insert(name, object);
                Vec::new()
            }
            Event::InitDone => self.replace(),
            Event::Apply((name, object)) => {
                let before = self.cache.write().insert(name.clone(), object.clone());
                vec![Change { name, before, after: Some(object) }]
            }
            Event::Delete((name, _)) => {
                let before = self.cache.write().remove(&name);
                vec![Change { name, before, after: None }]
            }
        }
    }

    fn replace(&mut self) -> Vec<Change<V>> {
        let listed = std::mem::take(&mut self.listed);
        let mut objects = self.cache.write();
        let is_watched = |name: &NamespacedName| self.namespace.as_ref().is_none_or(|own| *own == name.namespace);
        let gone: Vec<_> =
            objects.keys().filter(|name| is_watched(name) && !listed.contains_key(*name)).cloned().collect();
        let mut changes = Vec::new();
        for name in gone {
            let before = objects.remove(&name);
            changes.push(Change { name, before, after: None });
        }
        for (name, object) in listed {
            let before = objects.insert(name.clone(), object.clone());
            let is_known = before.as_ref().is_some_and(|before| before.version() == object.version());
            if !is_known {
                changes.push(Change { name, before, after: Some(object) });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Version(&'static str);

    impl Versioned for Version {
        fn version(&self) -> Option<&str> {
            Some(self.0)
        }
    }

    fn name(namespace: &str, name: &str) -> NamespacedName {
        NamespacedName { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    fn list(feed: &mut Feed<Version>, objects: &[(NamespacedName, Version)]) -> Vec<Change<Version>> {
        feed.take(Event::Init);
        for object in objects {
            assert_eq!(feed.take(Event::InitApply(object.clone())), []);
        }
        feed.take(Event::InitDone)
    }

    fn change(name: NamespacedName, before: Option<&'static str>, after: Option<&'static str>) -> Change<Version> {
        Change { name, before: before.map(Version), after: after.map(Version) }
    }

    #[test]
    fn a_new_list_changes_what_differs_and_what_is_gone() {
        let mut feed = Feed::new(Arc::default(), None);
        let (a, b, c) = (name("shop", "a"), name("shop", "b"), name("shop", "c"));
        let first = list(&mut feed, &[(a.clone(), Version("1")), (b.clone(), Version("2")), (c.clone(), Version("3"))]);
        assert_eq!(first.len(), 3);
        let second = list(&mut feed, &[(a, Version("1")), (c.clone(), Version("4"))]);
        assert_eq!(second, [change(b, Some("2"), None), change(c, Some("3"), Some("4"))]);
    }

    #[test]
    fn a_list_that_was_cut_changes_nothing() {
        let mut feed = Feed::new(Arc::default(), None);
        list(&mut feed, &[(name("shop", "a"), Version("1")), (name("shop", "b"), Version("2"))]);
        feed.take(Event::Init);
        feed.take(Event::InitApply((name("shop", "a"), Version("5"))));
        assert_eq!(feed.cache.get(&name("shop", "a")), Some(Version("1")));
        assert_eq!(list(&mut feed, &[(name("shop", "a"), Version("1")), (name("shop", "b"), Version("2"))]), []);
    }

    #[test]
    fn watches_of_different_namespaces_share_a_cache() {
        let cache = Arc::default();
        let mut shop = Feed::new(Arc::clone(&cache), Some("shop".to_owned()));
        let mut bank = Feed::new(Arc::clone(&cache), Some("bank".to_owned()));
        list(&mut shop, &[(name("shop", "a"), Version("1"))]);
        list(&mut bank, &[(name("bank", "a"), Version("2")), (name("bank", "b"), Version("3"))]);
        list(&mut shop, &[]);
        assert_eq!(cache.get(&name("shop", "a")), None);
        assert_eq!(cache.of_namespace("bank").len(), 2);
        assert_eq!(cache.of_namespace("ban"), []);
    }

    #[test]
    fn each_event_is_a_change() {
        let mut feed = Feed::new(Arc::default(), None);
        let a = name("shop", "a");
        let tell = |feed: &mut Feed<Version>, event| feed.take(event);
        assert_eq!(tell(&mut feed, Event::Apply((a.clone(), Version("1")))), [change(a.clone(), None, Some("1"))]);
        assert_eq!(tell(&mut feed, Event::Apply((a.clone(), Version("2")))), [change(a.clone(), Some("1"), Some("2"))]);
        assert_eq!(tell(&mut feed, Event::Delete((a.clone(), Version("3")))), [change(a, Some("2"), None)]);
    }
}
