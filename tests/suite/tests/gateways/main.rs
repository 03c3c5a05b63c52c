//! Gateways whose resources only some clusters have: what is said without them, what is made with them, and what their controllers say of it.
//! On a cluster of its own, because the definitions concern everybody.
//!
//! The API server judges what is made for Kong by Kong's own definition. Those of ACK are our own here and take any spec; `GATEWAY_DEFINITIONS`
//! names a folder with the real ones, of the ACK controller for API Gateway v2 and of Kong, to be used instead.
#![allow(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

use std::{env, time::Duration};

use kube::{
    Api, Resource,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use sluice_cluster::{Cluster, Part, Target, testing::OwnCluster};
use sluice_crds::{Webhook, WebhookStatus};
use sluice_suite::{
    Stage,
    audit::requests,
    definitions::definitions,
    operator::Operator,
    until,
    world::{PATIENCE, condition},
};

/// Group and version, kind, and plural.
type Kind = ((&'static str, &'static str), &'static str, &'static str);

const AWS: (&str, &str) = ("apigatewayv2.services.k8s.aws", "v1alpha1");
const API: Kind = (AWS, "API", "apis");
const VPC_LINK: Kind = (AWS, "VPCLink", "vpclinks");
const INTEGRATION: Kind = (AWS, "Integration", "integrations");
const ROUTE: Kind = (AWS, "Route", "routes");
const STAGE: Kind = (AWS, "Stage", "stages");
const PLUGIN: Kind = (("configuration.konghq.com", "v1"), "KongPlugin", "kongplugins");
const HTTP_ROUTE: Kind = (("gateway.networking.k8s.io", "v1"), "HTTPRoute", "httproutes");
const ACK: [Kind; 5] = [API, VPC_LINK, INTEGRATION, ROUTE, STAGE];

/// What the operator is called.
const OPERATOR: &str = "gateways";
/// What AWS has not finished is looked at every 30 s.
const LOOKED_AT: Duration = Duration::from_secs(90);
/// What was missed for a minute is no longer looked for.
const MISSED: Duration = Duration::from_secs(150);
const OWN_LINK: &str = "awsApiGateway: {targetArn: 'arn:aws:elasticloadbalancing:eu-central-1:012345678901:listener/net/hooks/1/2', \
                        vpcLink: {subnetIds: [subnet-a, subnet-b], securityGroupIds: [sg-a]}}";
const STRANGE_LINK: &str = "awsApiGateway: {targetArn: 'arn:aws:servicediscovery:eu-central-1:012345678901:service/srv-1', \
                            vpcLink: {id: abc123}}";
const PUBLIC: &str = "awsApiGateway: {url: 'https://receivers.example', stage: live}";
const GATEWAY: &str = "parentRefs: [{name: edge}]";

/// A definition that takes any spec.
fn definition(((group, version), kind, plural): Kind) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group,
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}},
            }],
        },
    })
}

/// The file with Kong's definition of its plugins.
fn kong_definition() -> String {
    let versions = [include_str!("kong/go.mod"), include_str!("kong/go.sum")];
    let file = "configuration.konghq.com_kongplugins.yaml";
    let files = format!("config/crd/ingress-controller/{file}");
    let folder = definitions("kong", versions, "github.com/kong/kubernetes-configuration", &files).unwrap();
    folder.join(file).display().to_string()
}

/// Installs the definitions of both gateways.
fn install(cluster: &Cluster) {
    let apply = |path: &str| cluster.kubectl(&["apply", "--server-side", "-f", path]).unwrap();
    if let Ok(folder) = env::var("GATEWAY_DEFINITIONS") {
        apply(&folder);
    } else {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": ACK.map(definition)});
        cluster.apply(&list.to_string()).unwrap();
        apply(&kong_definition());
    }
    for ((group, _), _, plural) in ACK.into_iter().chain([PLUGIN]) {
        let definition = format!("crd/{plural}.{group}");
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=60s", &definition]).unwrap();
    }
}

/// A Webhook on a cluster of its own, and its operator.
struct Scene {
    stage: Stage,
    operator: Operator,
}

impl Scene {
    /// The objects of a kind.
    fn api(&self, ((group, version), kind, plural): Kind) -> Api<DynamicObject> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural);
        Api::namespaced_with(self.stage.client.clone(), &self.stage.namespace, &resource)
    }

    async fn route(&self, route: &str) {
        let spec = format!("{{route: {{{route}}}, verify: {{none: {{}}}}}}");
        let yaml =
            format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {{name: stripe}}, spec: {spec}}}");
        self.stage.apply::<Webhook>(&yaml).await.unwrap();
    }

    /// Waits until the condition of the Webhook's newest spec contains these words; gives the status.
    async fn says(&self, kind: &str, words: &[&str], patience: Duration) -> WebhookStatus {
        let webhooks = self.stage.api::<Webhook>();
        let looked = until(&format!("{kind} says {words:?}"), patience, || async {
            let webhook = webhooks.get("stripe").await.map_err(|error| error.to_string())?;
            let status = webhook.status.unwrap_or_default();
            let told = condition(&status.conditions, kind);
            let is_current = status.observed_generation == webhook.metadata.generation;
            if is_current && words.iter().all(|word| told.contains(word)) { Ok(status) } else { Err(told) }
        })
        .await;
        looked.unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()))
    }

    /// Waits until the objects `stripe-receiver` are of exactly these kinds.
    async fn has(&self, wanted: &[Kind]) {
        let looked = until(&format!("the route is {wanted:?}"), PATIENCE, || async {
            let mut found = Vec::new();
            for kind in [HTTP_ROUTE, API, VPC_LINK, INTEGRATION, ROUTE, STAGE] {
                if self.api(kind).get_opt("stripe-receiver").await.map_err(|error| error.to_string())?.is_some() {
                    found.push(kind);
                }
            }
            if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
        })
        .await;
        looked.unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// Waits until there is no plugin any more.
    async fn has_no_plugins(&self) {
        until("the plugins are gone", PATIENCE, || async {
            let left = self.api(PLUGIN).list(&ListParams::default()).await.map_err(|error| error.to_string())?;
            if left.items.is_empty() { Ok(()) } else { Err(format!("{} are left", left.items.len())) }
        })
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", self.operator.log()));
    }

    /// Waits until nothing is left to change: what was applied is there as it was meant, also where nobody watches it.
    async fn settled(&self) {
        until("nothing is left to change", PATIENCE, || async {
            let webhook = self.stage.api::<Webhook>().get("stripe").await.map_err(|error| error.to_string())?;
            let status = webhook.status.unwrap_or_default();
            let told = condition(&status.conditions, "Ready");
            let is_current = status.observed_generation == webhook.metadata.generation;
            if is_current && !told.contains("were changed") { Ok(()) } else { Err(told) }
        })
        .await
        .unwrap();
    }

    /// What a controller writes into the status of an object.
    async fn answer(&self, kind: Kind, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api(kind).patch_status("stripe-receiver", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Waits until a field of an object is this.
    async fn becomes(&self, kind: Kind, pointer: &str, wanted: &str) {
        until(&format!("{pointer} of the {} is {wanted}", kind.1), PATIENCE, || async {
            let field = self.field(kind, pointer).await;
            if field == wanted { Ok(()) } else { Err(field.to_string()) }
        })
        .await
        .unwrap();
    }

    async fn field(&self, kind: Kind, pointer: &str) -> Value {
        let object = self.api(kind).get("stripe-receiver").await.unwrap();
        object.data.pointer(pointer).cloned().unwrap_or_default()
    }
}

#[tokio::test]
async fn what_only_some_clusters_have_is_used_where_it_is() {
    let own = OwnCluster::up("gateways", &[Part::ControlPlane, Part::GatewayCrds, Part::Kafka]).unwrap();
    let name = format!("gateways-{}", std::process::id());
    let stage = Stage::on(Target::Local(Cluster::attach(&name).unwrap()), "gateways").await.unwrap();
    let operator = stage.start(&stage.launch(OPERATOR)).await.unwrap();
    let mut scene = Scene { stage, operator };

    scene.route(OWN_LINK).await;
    scene
        .says("RouteAccepted", &["False AckMissing", "no API (apigatewayv2.services.k8s.aws/v1alpha1)"], PATIENCE)
        .await;
    install(&own);
    scene.stage.touch::<Webhook>("stripe").await.unwrap();
    aws(&scene).await;
    kong(&scene).await;
    kong_is_not_asked_for(&scene).await;
    kong_leaves_nothing(&mut scene).await;
    kong_goes_and_comes_back(&scene, &own).await;
    drop(scene);
    tokio::task::spawn_blocking(|| drop(own)).await.unwrap();
}

async fn aws(scene: &Scene) {
    let own_link = [API, VPC_LINK, INTEGRATION, ROUTE, STAGE];
    scene.has(&own_link).await;
    scene
        .says("RouteAccepted", &["False RoutePending", "does the ACK controller for API Gateway v2 run?"], PATIENCE)
        .await;
    let path = format!("/{}/stripe", scene.stage.namespace);
    assert_eq!(scene.field(ROUTE, "/spec/routeKey").await, format!("POST {path}"));

    // The controller makes one after the other, and nobody tells the operator.
    let synced = json!([{"type": "ACK.ResourceSynced", "status": "True"}]);
    for kind in [VPC_LINK, INTEGRATION, ROUTE, STAGE] {
        scene.answer(kind, json!({"conditions": synced})).await;
    }
    let address = "https://a1.execute-api.eu-central-1.amazonaws.com";
    scene.answer(API, json!({"conditions": synced, "apiEndpoint": address})).await;
    let status = scene.says("RouteAccepted", &["True"], LOOKED_AT).await;
    assert_eq!(status.url, Some(format!("{address}{path}")));
    scene.settled().await;

    let terminal = json!([{"type": "ACK.Terminal", "status": "True", "message": "BadRequestException: no such path"}]);
    scene.answer(ROUTE, json!({"conditions": terminal})).await;
    scene.stage.touch::<Webhook>("stripe").await.unwrap();
    scene.says("RouteAccepted", &["False RouteRefused", "BadRequestException: no such path"], PATIENCE).await;

    // With a public address there is no link, and all else stays.
    scene.route(PUBLIC).await;
    scene.has(&[API, INTEGRATION, ROUTE, STAGE]).await;
    scene.becomes(INTEGRATION, "/spec/integrationURI", &format!("https://receivers.example{path}")).await;
    assert_eq!(scene.field(INTEGRATION, "/spec/connectionRef").await, Value::Null);
    scene.answer(ROUTE, json!({"conditions": synced})).await;
    let status = scene.says("RouteAccepted", &["True"], LOOKED_AT).await;
    assert_eq!(status.url, Some(format!("{address}/live{path}")));

    // A link of somebody else's, by its id.
    scene.route(STRANGE_LINK).await;
    scene.becomes(INTEGRATION, "/spec/connectionID", "abc123").await;
    scene.settled().await;

    scene.route(GATEWAY).await;
    scene.has(&[HTTP_ROUTE]).await;
}

async fn kong(scene: &Scene) {
    let plugin = |requests: u32| async move {
        let kong = format!("{GATEWAY}, kong: {{rateLimit: {{perMinute: {requests}}}, allow: [192.0.2.0/24]}}");
        scene.route(&kong).await;
        let plugins = scene.api(PLUGIN);
        let looked = until(&format!("the plugin takes {requests} requests"), PATIENCE, || async {
            let plugin = plugins.get("stripe-receiver-rate-limiting").await.map_err(|error| error.to_string())?;
            if plugin.data["config"]["minute"] == requests { Ok(()) } else { Err(plugin.data.to_string()) }
        })
        .await;
        looked.unwrap_or_else(|error| panic!("{error:#}\n{}", scene.operator.log()));
        scene.settled().await;
    };
    plugin(100).await;
    plugin(200).await;
    scene.route(GATEWAY).await;
    scene.has_no_plugins().await;
}

/// Once nothing can come any more that was asked for before, passes over a Webhook without plugins look for none.
async fn kong_is_not_asked_for(scene: &Scene) {
    let log = scene.stage.audit_log.as_ref().unwrap();
    let asked = || {
        let all = requests(log).unwrap().into_iter();
        all.filter(|request| request.is_by(OPERATOR) && request.object_ref.resource == PLUGIN.2).count()
    };
    until("no plugin is asked for", MISSED, || async {
        let before = asked();
        let looked = scene.operator.looks_again::<Webhook>(&scene.stage, "stripe").await;
        looked.map_err(|error| format!("{error:#}"))?;
        match asked() - before {
            0 => Ok(()),
            more => Err(format!("{more} requests")),
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", scene.operator.log()));
}

/// What an operator left that ended after it had changed the route, and before it could delete the plugins: no route names it any more. The
/// next one finds it.
async fn kong_leaves_nothing(scene: &mut Scene) {
    let webhook = scene.stage.api::<Webhook>().get("stripe").await.unwrap();
    let metadata = json!({
        "name": "stripe-receiver-ip-restriction",
        "ownerReferences": [webhook.controller_owner_ref(&()).unwrap()],
    });
    let left = json!({
        "apiVersion": "configuration.konghq.com/v1",
        "kind": "KongPlugin",
        "metadata": metadata,
        "plugin": "ip-restriction",
        "config": {"deny": ["192.0.2.0/24"]},
    });
    let left: DynamicObject = serde_json::from_value(left).unwrap();
    scene.api(PLUGIN).create(&PostParams::default(), &left).await.unwrap();
    scene.operator = scene.stage.start(&scene.stage.launch(OPERATOR)).await.unwrap();
    scene.has_no_plugins().await;
}

async fn kong_goes_and_comes_back(scene: &Scene, cluster: &Cluster) {
    let ((group, _), _, plural) = PLUGIN;
    cluster.kubectl(&["delete", "crd", &format!("{plural}.{group}")]).unwrap();
    scene.route(&format!("{GATEWAY}, kong: {{allow: [192.0.2.0/24]}}")).await;
    scene.says("RouteAccepted", &["False KongMissing"], PATIENCE).await;
    scene.has(&[]).await;

    // Nobody tells the operator.
    install(cluster);
    until("the route is back", LOOKED_AT, || async {
        match scene.api(HTTP_ROUTE).get_opt("stripe-receiver").await.map_err(|error| error.to_string())? {
            Some(_) => Ok(()),
            None => Err("it is not there".to_owned()),
        }
    })
    .await
    .unwrap_or_else(|error| panic!("{error:#}\n{}", scene.operator.log()));
    scene.api(PLUGIN).get("stripe-receiver-ip-restriction").await.unwrap();
}
