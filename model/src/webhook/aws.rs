//! AWS API Gateway v2 by the resources of its ACK controller: an API for the endpoint alone, and what the controller says of it.

use serde_json::{Value, json};
use sluice_crds::{AwsApiGateway, Reason, VpcLink};

use super::{COMPONENT, Endpoint, receiver_name};
use crate::{
    Rejection,
    children::{self, Change, Child, ChildKind, Live, Plan},
};

/// An API of AWS API Gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpApi {
    stage: String,
    target: Target,
}

/// What API Gateway calls.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A load balancer's listener or a Cloud Map service in a VPC.
    Private { arn: String, link: Link },
    /// A public address, without a path.
    Public(String),
}

/// The VPC link to a private target.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    /// One that exists in AWS.
    Id(String),
    /// One that somebody else's VPCLink declares.
    Named(String),
    /// The endpoint's own.
    Own { subnets: Vec<String>, security_groups: Vec<String> },
}

/// The stage whose name is not part of an API's address.
const DEFAULT_STAGE: &str = "$default";
/// How ACK's resources are called, for who wants to look at them.
const GROUP: &str = "apigatewayv2.services.k8s.aws";
/// Conditions of ACK's resources: the spec has to be changed; the controller tries again; AWS has what the spec says.
const TERMINAL: &str = "ACK.Terminal";
const RECOVERABLE: &str = "ACK.Recoverable";
const SYNCED: &str = "ACK.ResourceSynced";

/// The API that is asked for.
pub(super) fn http_api(gateway: &AwsApiGateway) -> Result<HttpApi, Rejection> {
    let target = match (&gateway.vpc_link, &gateway.target_arn, &gateway.url) {
        (Some(asked), Some(arn), None) => Target::Private { arn: arn.clone(), link: link(asked)? },
        (None, None, Some(url)) => Target::Public(url.clone()),
        _ => {
            return Err(Rejection::invalid("spec.route.awsApiGateway", "write vpcLink and targetArn, or url"));
        }
    };
    Ok(HttpApi { stage: gateway.stage.clone(), target })
}

fn link(asked: &VpcLink) -> Result<Link, Rejection> {
    let VpcLink { id, name, subnet_ids: subnets, security_group_ids: security_groups } = asked;
    match (id, name, subnets.is_empty(), security_groups.is_empty()) {
        (Some(id), None, true, true) => Ok(Link::Id(id.clone())),
        (None, Some(name), true, true) => Ok(Link::Named(name.clone())),
        (None, None, false, _) => Ok(Link::Own { subnets: subnets.clone(), security_groups: security_groups.clone() }),
        _ => {
            let message = "write exactly one of id, name, subnetIds, and securityGroupIds only with subnetIds";
            Err(Rejection::invalid("spec.route.awsApiGateway.vpcLink", message))
        }
    }
}

/// The kinds that may belong to an API, without the API.
pub(super) const BELONGINGS: [ChildKind; 4] =
    [ChildKind::AwsVpcLink, ChildKind::AwsIntegration, ChildKind::AwsRoute, ChildKind::AwsStage];

/// The plan without what would belong to an API that is somebody else's, and be that one's routes.
pub fn leave_strange_api_alone(mut plan: Plan) -> Plan {
    if plan.withheld.iter().any(|withheld| withheld.kind == ChildKind::AwsApi) {
        plan.changes.retain(|change| !matches!(change, Change::Create(child) if BELONGINGS.contains(&child.kind)));
    }
    plan
}

/// The API and what belongs to it, all of the same name. The API comes first: who sees it knows that there may be more.
pub(super) fn objects(endpoint: &Endpoint, api: &HttpApi) -> Vec<Child> {
    let own_link = own_link(endpoint, api).map(|spec| (ChildKind::AwsVpcLink, spec));
    let specs = [(ChildKind::AwsApi, json!({"name": aws_name(endpoint), "protocolType": "HTTP"}))]
        .into_iter()
        .chain(own_link)
        .chain([
            (ChildKind::AwsIntegration, integration(endpoint, api)),
            (ChildKind::AwsRoute, route(endpoint)),
            (ChildKind::AwsStage, json!({"apiRef": own(endpoint), "stageName": api.stage, "autoDeploy": true})),
        ]);
    let (owner, name) = (&endpoint.owner, receiver_name(&endpoint.owner));
    specs.map(|(kind, spec)| owner.child(kind, COMPONENT, &name, json!({"spec": spec}))).collect()
}

/// What API and link are called in AWS, where all clusters of an account share the names.
fn aws_name(endpoint: &Endpoint) -> String {
    format!("{}.{}", endpoint.owner.name.namespace, endpoint.owner.name.name)
}

/// A reference to another one of the objects.
fn own(endpoint: &Endpoint) -> Value {
    named(&receiver_name(&endpoint.owner))
}

fn named(name: &str) -> Value {
    json!({"from": {"name": name}})
}

fn own_link(endpoint: &Endpoint, api: &HttpApi) -> Option<Value> {
    let Target::Private { link: Link::Own { subnets, security_groups }, .. } = &api.target else { return None };
    let mut spec = json!({"name": aws_name(endpoint), "subnetIDs": subnets});
    if !security_groups.is_empty() {
        spec["securityGroupIDs"] = json!(security_groups);
    }
    Some(spec)
}

fn route(endpoint: &Endpoint) -> Value {
    let own = own(endpoint);
    json!({"apiRef": own, "routeKey": format!("POST {}", endpoint.path), "targetRef": own})
}

/// Requests are passed on as they came, to the endpoint's path.
fn integration(endpoint: &Endpoint, api: &HttpApi) -> Value {
    let mut spec = json!({
        "apiRef": own(endpoint),
        "integrationType": "HTTP_PROXY",
        "integrationMethod": "POST",
        "payloadFormatVersion": "1.0",
    });
    match &api.target {
        Target::Public(url) => {
            spec["connectionType"] = json!("INTERNET");
            spec["integrationURI"] = json!(format!("{url}{}", endpoint.path));
        }
        Target::Private { arn, link } => {
            spec["connectionType"] = json!("VPC_LINK");
            spec["integrationURI"] = json!(arn);
            // Otherwise the stage's name would come before the path.
            spec["requestParameters"] = json!({"overwrite:path": "$request.path"});
            match link {
                Link::Id(id) => spec["connectionID"] = json!(id),
                Link::Named(name) => spec["connectionRef"] = named(name),
                Link::Own { .. } => spec["connectionRef"] = own(endpoint),
            }
        }
    }
    spec
}

/// Whether AWS has all that the endpoint needs, or why not: what no waiting mends before what may pass.
pub(super) fn verdict(endpoint: &Endpoint, api: &HttpApi, live: &[Live]) -> Result<String, (Reason, String)> {
    let mut found = Vec::new();
    for wanted in objects(endpoint, api) {
        let object = children::find(live, wanted.kind, &wanted.name);
        found.push(object.ok_or_else(|| (Reason::Progressing, format!("no {} exists yet", full_name(&wanted))))?);
    }
    if let Some(going) = found.iter().find(|object| !object.metadata("deletionTimestamp").is_empty()) {
        return Err((Reason::RoutePending, format!("{} is being deleted, and is made anew then", live_name(going))));
    }
    let told = |kind, goes_on: &str| {
        let concerned = found.iter().find(|object| is_true(object, kind))?;
        let message = condition(concerned, kind).and_then(|condition| condition["message"].as_str());
        Some(format!("{} says {kind}: {}{goes_on}", live_name(concerned), message.unwrap_or_default()))
    };
    if let Some(message) = told(TERMINAL, "") {
        return Err((Reason::RouteRefused, message));
    }
    if let Some(message) = told(RECOVERABLE, "; its controller tries again") {
        return Err((Reason::RoutePending, message));
    }
    match found.iter().find(|object| !is_true(object, SYNCED)) {
        Some(waiting) => Err((Reason::RoutePending, format!("{} {}", live_name(waiting), not_synced(waiting)))),
        None => Ok("AWS API Gateway has the route".to_owned()),
    }
}

fn not_synced(object: &Live) -> String {
    match condition(object, SYNCED) {
        Some(condition) => {
            format!("is not in AWS yet: {}", condition["message"].as_str().unwrap_or("its controller works on it"))
        }
        None => "has no answer; does the ACK controller for API Gateway v2 run?".to_owned(),
    }
}

/// Sluice has Integrations too.
fn full_name(child: &Child) -> String {
    format!("{} of {GROUP}", child.kind.api().1)
}

fn live_name(object: &Live) -> String {
    format!("the {} {:?} of {GROUP}", object.kind.api().1, object.name)
}

fn condition<'a>(object: &'a Live, kind: &str) -> Option<&'a Value> {
    object.object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn is_true(object: &Live, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// Where senders send: the API's own address, with the stage that stands in it.
pub(super) fn url(endpoint: &Endpoint, api: &HttpApi, live: &[Live]) -> Option<String> {
    let object = &children::find(live, ChildKind::AwsApi, &receiver_name(&endpoint.owner))?.object;
    let address = object["status"]["apiEndpoint"].as_str().filter(|address| !address.is_empty())?;
    // AWS documents it without a scheme and gives it with one.
    let host = address.strip_prefix("https://").unwrap_or(address).trim_end_matches('/');
    let stage = if api.stage == DEFAULT_STAGE { String::new() } else { format!("/{}", api.stage) };
    Some(format!("https://{host}{stage}{}", endpoint.path))
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::{
        children::plan,
        webhook::{Entry, References, validate},
    };

    fn endpoint(gateway: &str) -> (Endpoint, HttpApi) {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: orders, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{awsApiGateway: {{{gateway}}}, path: /orders}}, verify: {{none: {{}}}}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let settings = serde_saphyr::from_str(settings).unwrap();
        let endpoint = validate(&webhook, &References::default(), &settings).unwrap();
        let Entry::AwsApiGateway(api) = endpoint.entry.clone() else { panic!("{endpoint:?}") };
        (endpoint, api)
    }

    const PUBLIC: &str = "url: 'https://receivers.example'";

    /// The objects with the conditions that the controller gives to each, as `type status message`.
    fn live(endpoint: &Endpoint, api: &HttpApi, conditions: impl Fn(ChildKind) -> Vec<&'static str>) -> Vec<Live> {
        let objects = objects(endpoint, api).into_iter();
        let with_status = |child: Child| {
            let conditions: Vec<_> = conditions(child.kind)
                .iter()
                .map(|text| {
                    let [kind, status, message] = text.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
                    json!({"type": kind, "status": status, "message": message})
                })
                .collect();
            let mut object = child.manifest;
            object["status"] =
                json!({"conditions": conditions, "apiEndpoint": "https://a1.execute-api.eu-central-1.amazonaws.com"});
            Live { kind: child.kind, name: child.name, object }
        };
        objects.map(with_status).collect()
    }

    const DONE: &str = "ACK.ResourceSynced True done";

    /// What is planned for the endpoint beside these objects, with and without regard to whose API it is.
    fn plans(endpoint: &Endpoint, api: &HttpApi, live: &[Live]) -> (Plan, Plan) {
        let without_regard = plan(&endpoint.owner, &objects(endpoint, api), live);
        (leave_strange_api_alone(without_regard.clone()), without_regard)
    }

    /// The API as somebody else made it.
    fn strange_api(endpoint: &Endpoint, api: &HttpApi) -> Live {
        let mut live = live(endpoint, api, |_| vec![]).remove(0);
        live.object["metadata"]["ownerReferences"][0]["uid"] = json!("somebody-else");
        live
    }

    const OWN_LINK: &str =
        "vpcLink: {subnetIds: [subnet-1]}, targetArn: 'arn:aws:elasticloadbalancing:eu-central-1:1:listener/app/a/b/c'";

    #[test]
    fn nothing_is_made_in_an_api_that_is_somebody_elses() {
        for gateway in [PUBLIC, OWN_LINK] {
            let (endpoint, api) = endpoint(gateway);
            let (careful, careless) = plans(&endpoint, &api, &[strange_api(&endpoint, &api)]);
            assert_eq!(careless.changes.len(), objects(&endpoint, &api).len() - 1, "it would have been made otherwise");
            assert_eq!(careful, Plan { changes: Vec::new(), withheld: careless.withheld });
            assert_eq!(careful.withheld[0].kind, ChildKind::AwsApi);
        }
    }

    #[test]
    fn what_is_ours_is_kept_and_deleted_beside_an_api_that_is_somebody_elses() {
        let (endpoint, api) = endpoint(PUBLIC);
        let mut found = live(&endpoint, &api, |_| vec![]);
        found[0] = strange_api(&endpoint, &api);
        found[1].object["spec"]["integrationMethod"] = json!("GET");
        found[3].name = "orders-receiver-before".to_owned();
        let (careful, careless) = plans(&endpoint, &api, &found);
        let kinds = |plan: &Plan| plan.changes.iter().map(Change::kind).collect::<Vec<_>>();
        let [integration, stage] = [ChildKind::AwsIntegration, ChildKind::AwsStage];
        assert_eq!(kinds(&careless), [integration, stage, stage], "repaired, made and deleted");
        assert_eq!(kinds(&careful), [integration, stage]);
        assert!(matches!(&careful.changes[0], Change::Update { .. }), "{careful:?}");
        assert!(matches!(&careful.changes[1], Change::Delete { name, .. } if name == "orders-receiver-before"));
    }

    #[test]
    fn only_what_belongs_to_a_strange_api_is_left_out() {
        let (endpoint, api) = endpoint(PUBLIC);
        let service = endpoint.owner.child(ChildKind::Service, COMPONENT, "orders-receiver", json!({"spec": {}}));
        let desired: Vec<Child> = objects(&endpoint, &api).into_iter().chain([service.clone()]).collect();
        let plan = plan(&endpoint.owner, &desired, &[strange_api(&endpoint, &api)]);
        assert_eq!(leave_strange_api_alone(plan).changes, [Change::Create(service)]);
    }

    #[test]
    fn in_an_api_of_its_own_everything_is_made_also_where_another_object_is_withheld() {
        let (endpoint, api) = endpoint(PUBLIC);
        let (careful, careless) = plans(&endpoint, &api, &[]);
        assert_eq!((careful.changes.len(), &careful), (4, &careless));

        let mut strange_stage = live(&endpoint, &api, |_| vec![]).remove(3);
        strange_stage.object["metadata"]["ownerReferences"] = json!([]);
        let (careful, careless) = plans(&endpoint, &api, &[strange_stage]);
        assert_eq!((careful.changes.len(), careful.withheld[0].kind), (3, ChildKind::AwsStage));
        assert_eq!(careful, careless);
    }

    #[test]
    fn the_route_is_accepted_once_aws_has_everything() {
        let (endpoint, api) = endpoint(PUBLIC);
        let told = |live: &[Live]| verdict(&endpoint, &api, live);
        let (reason, message) = told(&[]).unwrap_err();
        assert_eq!(
            (reason, message.as_str()),
            (Reason::Progressing, "no API of apigatewayv2.services.k8s.aws exists yet")
        );
        let (reason, message) = told(&live(&endpoint, &api, |_| vec![])).unwrap_err();
        assert_eq!(reason, Reason::RoutePending);
        assert!(message.contains("does the ACK controller for API Gateway v2 run?"), "{message}");
        assert_eq!(told(&live(&endpoint, &api, |_| vec![DONE])), Ok("AWS API Gateway has the route".to_owned()));
    }

    #[test]
    fn what_the_controller_says_is_passed_on_and_what_no_waiting_mends_first() {
        let (endpoint, api) = endpoint(PUBLIC);
        let told = |of_route: &'static str, of_stage: &'static str| {
            let conditions = |kind| match kind {
                ChildKind::AwsRoute => vec!["ACK.ResourceSynced False later", of_route],
                ChildKind::AwsStage => vec![of_stage],
                _ => vec!["ACK.Terminal False fine", DONE],
            };
            verdict(&endpoint, &api, &live(&endpoint, &api, conditions)).unwrap_err()
        };
        let denied = "ACK.Recoverable True AccessDeniedException";
        let bad = "ACK.Terminal True BadRequestException: no such stage";
        for (of_route, of_stage, reason, words) in [
            (
                "ACK.Advisory True hm",
                DONE,
                Reason::RoutePending,
                ["the Route \"orders-receiver\"", "is not in AWS yet: later"],
            ),
            (
                denied,
                DONE,
                Reason::RoutePending,
                ["the Route", "says ACK.Recoverable: AccessDeniedException; its controller tries again"],
            ),
            (denied, bad, Reason::RouteRefused, ["the Stage", "says ACK.Terminal: BadRequestException: no such stage"]),
        ] {
            let (found, message) = told(of_route, of_stage);
            assert_eq!(found, reason, "{message}");
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
    }

    #[test]
    fn the_address_is_the_apis_with_a_stage_that_has_a_name() {
        for (more, expected) in [("", "/orders"), (", stage: live", "/live/orders")] {
            let (endpoint, api) = endpoint(&format!("{PUBLIC}{more}"));
            let mut live = live(&endpoint, &api, |_| vec![]);
            let expected = format!("https://a1.execute-api.eu-central-1.amazonaws.com{expected}");
            assert_eq!(url(&endpoint, &api, &live), Some(expected.clone()));
            live[0].object["status"]["apiEndpoint"] = json!("a1.execute-api.eu-central-1.amazonaws.com");
            assert_eq!(url(&endpoint, &api, &live), Some(expected));
            live[0].object["status"]["apiEndpoint"] = json!("");
            assert_eq!(url(&endpoint, &api, &live), None);
        }
    }
}
