//! Who uses a Topic right before it grows: nobody can take partitions back, so the watches alone are not asked. One may be behind, or
//! may never have been answered, where the operator has lost a right.

use std::collections::BTreeSet;

use kube::core::DeserializeGuard;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_model::topic::{Usage, Users, uses_of_integration, uses_of_webhook};

use super::farewell::tell_apart;
use crate::{context::Context, error::Error, farewell::list, grants, looks::Looks};

/// What passes that add partitions look at together.
#[derive(Debug, Default)]
pub struct Growths(Looks<(), Users>);

impl Growths {
    /// Who uses the Topic at this moment, and who did as the watches have told, which is `known`.
    pub async fn users(&self, context: &Context, topic: &Topic, known: &[Usage]) -> Result<Vec<Usage>, Error> {
        let users = self.0.at((), users(context)).await?;
        tell_apart(topic, context, &users).await?;
        Ok(all(known, context.relations.of_users(topic, &users).users))
    }
}

/// Who uses Topics, by the specs and by what the statuses note. What cannot be decoded holds up nobody: of that the watches tell what was known.
async fn users(context: &Context) -> Result<Users, Error> {
    let (integrations, webhooks, grants) = futures::try_join!(
        list::<DeserializeGuard<Integration>>(context),
        list::<DeserializeGuard<Webhook>>(context),
        grants::all(context),
    )?;
    let integrations = integrations.iter().filter_map(|guarded| guarded.0.as_ref().ok()).map(uses_of_integration);
    let webhooks = webhooks.iter().filter_map(|guarded| guarded.0.as_ref().ok()).map(uses_of_webhook);
    Ok(integrations.chain(webhooks).collect::<Users>().let_by(grants))
}

/// All of both, in order.
fn all(known: &[Usage], live: Vec<Usage>) -> Vec<Usage> {
    known.iter().cloned().chain(live).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use sluice_crds::NamespacedName;
    use sluice_model::topic::{Role, User, UserKind};

    use super::*;

    fn reader(name: &str, by_key: bool) -> Usage {
        let name = NamespacedName { namespace: "shop".to_owned(), name: name.to_owned() };
        Usage { user: User { kind: UserKind::Integration, name }, role: Role::Source { by_key } }
    }

    #[test]
    fn who_is_known_by_one_of_two_views_counts() {
        let (known, live) = ([reader("a", false), reader("c", true)], vec![reader("b", true), reader("a", true)]);
        let expected = [reader("a", false), reader("a", true), reader("b", true), reader("c", true)];
        assert_eq!(all(&known, live), expected);
    }
}
