//! Reads the objects that a plan is about: those with a wanted name, and those with the owner's labels.

use futures::future::try_join_all;
use kube::{
    Client, ResourceExt,
    api::{DynamicObject, ListParams, TypeMeta},
};
use sluice_crds::NamespacedName;
use sluice_model::children::{Child, ChildKind, Live, Owner};

use super::api;
use crate::{
    context::Context,
    error::{Doing, Error},
};

/// Whether an object exists, and whether it could.
#[derive(Debug)]
pub enum Existence {
    /// It exists.
    There(Box<Live>),
    /// It does not.
    Absent,
    /// The API server does not know its kind.
    KindUnknown,
}

impl Existence {
    /// The object, where it exists.
    pub fn there(self) -> Option<Live> {
        match self {
            Self::There(live) => Some(*live),
            Self::Absent | Self::KindUnknown => None,
        }
    }
}

/// Reads one object.
pub async fn get(client: &Client, kind: ChildKind, namespace: &str, name: &str) -> Result<Existence, Error> {
    match api(client, kind, namespace).get(name).await {
        Ok(object) => Ok(Existence::There(Box::new(live(kind, object)))),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(Existence::Absent),
        // An unknown kind is answered by the server's router, in plain text and without a reason.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(Existence::KindUnknown),
        Err(error) => Err(error).doing(|| format!("read {} \"{namespace}/{name}\"", kind.api().1)),
    }
}

/// Kinds of which an owner has at most one for a component, named like its Deployment.
const AT_MOST_ONE: [ChildKind; 2] = [ChildKind::PodDisruptionBudget, ChildKind::NetworkPolicy];

/// Reads what exists under the names of `desired`, and what else is or may be the owner's and may be left over.
pub async fn observe(context: &Context, owner: &Owner, component: &str, desired: &[Child]) -> Result<Vec<Live>, Error> {
    let (client, namespace) = (&context.client, &owner.name.namespace);
    let name = NamespacedName { namespace: namespace.clone(), name: owner.data_plane(component) };
    let is_left_over = |kind| !desired.iter().any(|child| child.kind == kind) && context.known.may_exist(kind, &name);
    let others = AT_MOST_ONE.into_iter().filter(|kind| is_left_over(*kind)).map(|kind| (kind, name.name.as_str()));
    let names = desired.iter().map(|child| (child.kind, child.name.as_str())).chain(others);
    let wanted = try_join_all(names.map(|(kind, name)| get(client, kind, namespace, name)));
    let labelled = try_join_all(
        [ChildKind::ConfigMap, ChildKind::Topic]
            .map(|kind| list(client, kind, namespace, owner.selector_text(component))),
    );
    let (wanted, labelled) = futures::try_join!(wanted, labelled)?;
    let mut found: Vec<Live> = wanted.into_iter().filter_map(Existence::there).collect();
    for live in labelled.into_iter().flatten() {
        if !found.iter().any(|known| known.kind == live.kind && known.name == live.name) {
            found.push(live);
        }
    }
    Ok(found)
}

/// Reads all objects with these labels.
pub async fn list(client: &Client, kind: ChildKind, namespace: &str, selector: String) -> Result<Vec<Live>, Error> {
    let parameters = ListParams::default().labels(&selector);
    let list = api(client, kind, namespace).list(&parameters).await;
    let list = list.doing(|| format!("list {} in {namespace:?}", super::plural(kind)))?;
    Ok(list.items.into_iter().map(|object| live(kind, object)).collect())
}

/// Objects of a list come without what they are; compared with what is wanted they would differ in it.
fn live(kind: ChildKind, mut object: DynamicObject) -> Live {
    let (name, (api_version, title)) = (object.name_any(), kind.api());
    object.types = Some(TypeMeta { api_version: api_version.to_owned(), kind: title.to_owned() });
    Live { kind, name, object: serde_json::to_value(object).expect("an object that was read can be written") }
}
