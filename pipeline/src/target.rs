//! What a step works on: the record's value and metadata, with a note of whether the value was changed.

use vrl::{
    compiler::{SecretTarget, Target},
    path::{OwnedTargetPath, PathPrefix},
    value::Value,
};

/// The value and the metadata of a record. Metadata is read-only by the compiler's settings; there are no secrets.
#[derive(Debug)]
pub(crate) struct StepTarget {
    pub(crate) value: Value,
    pub(crate) metadata: Value,
    /// Whether anything was written into the value or deleted from it.
    pub(crate) changed: bool,
}

impl StepTarget {
    fn at(&mut self, path: &OwnedTargetPath) -> &mut Value {
        match path.prefix {
            PathPrefix::Event => &mut self.value,
            PathPrefix::Metadata => &mut self.metadata,
        }
    }
}

impl Target for StepTarget {
    fn target_insert(&mut self, path: &OwnedTargetPath, value: Value) -> Result<(), String> {
        self.changed = true;
        self.at(path).insert(&path.path, value);
        Ok(())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        let root = match path.prefix {
            PathPrefix::Event => &self.value,
            PathPrefix::Metadata => &self.metadata,
        };
        Ok(root.get(&path.path))
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        self.changed = true;
        Ok(self.at(path).get_mut(&path.path))
    }

    fn target_remove(&mut self, path: &OwnedTargetPath, compact: bool) -> Result<Option<Value>, String> {
        let removed = self.at(path).remove(&path.path, compact);
        self.changed |= removed.is_some();
        Ok(removed)
    }
}

impl SecretTarget for StepTarget {
    fn get_secret(&self, _key: &str) -> Option<&str> {
        None
    }

    fn insert_secret(&mut self, _key: &str, _value: &str) {}

    fn remove_secret(&mut self, _key: &str) {}
}
