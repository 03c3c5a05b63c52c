//! How requests find a Webhook's receivers: an HTTPRoute or an Ingress with the plugins that it names, or an API of AWS API Gateway.

use serde_json::{Value, json};
use sluice_crds::{Ingress, ParentReference};

use super::{
    COMPONENT, Endpoint, Entry, aws,
    kong::{ANNOTATION, plugin_names},
    receiver_name,
};
use crate::children::{Child, ChildKind, Live, Owner};

/// Port of the receivers' Service.
const PORT: u16 = 80;

/// The kinds of which an endpoint has at most one, named like its receivers. What else belongs to an API, that tells.
const fn route_kinds() -> [ChildKind; 3] {
    [ChildKind::HttpRoute, ChildKind::Ingress, ChildKind::AwsApi]
}

/// Whether objects of a kind are routes, or belong to one.
pub fn is_of_route(kind: ChildKind) -> bool {
    kind == ChildKind::KongPlugin || route_kinds().contains(&kind) || aws::BELONGINGS.contains(&kind)
}

/// The plugins, then the route that names them: to the receivers' Service, for exactly the endpoint's path. Or an API and what belongs to it.
pub(super) fn route(endpoint: &Endpoint) -> Vec<Child> {
    let route = match &endpoint.entry {
        Entry::Gateways(parents) => http_route(endpoint, parents),
        Entry::Ingress(entry) => ingress(endpoint, entry),
        Entry::AwsApiGateway(api) => return aws::objects(endpoint, api),
    };
    let names: Vec<_> = endpoint.plugins.iter().map(|plugin| plugin.object_name(endpoint)).collect();
    let route = if names.is_empty() { route } else { route.annotated(ANNOTATION, &names.join(",")) };
    endpoint.plugins.iter().map(|plugin| plugin.child(endpoint)).chain([route]).collect()
}

/// The objects of which an endpoint may have some, whatever its spec asks for now: routes, and the plugins that one may have named. A route
/// may be gone, or changed, before its plugins are, and nobody else would know of them.
pub fn all_of_route(owner: &Owner) -> Vec<(ChildKind, String)> {
    let routes = route_kinds().map(|kind| (kind, receiver_name(owner)));
    routes.into_iter().chain(plugin_names(owner).map(|name| (ChildKind::KongPlugin, name))).collect()
}

/// These objects where the cluster does not have some kinds: none of a route that needs one of them. Without its plugins it would let in whom
/// they keep out.
pub fn without_unknown(children: &[Child], unknown: &[ChildKind]) -> Vec<Child> {
    let is_complete = !children.iter().any(|child| unknown.contains(&child.kind));
    children.iter().filter(|child| is_complete || !is_of_route(child.kind)).cloned().collect()
}

/// What belongs to a route where that is an API: its other objects.
pub fn belongings(route: &Live) -> Vec<(ChildKind, String)> {
    if route.kind == ChildKind::AwsApi {
        return aws::BELONGINGS.map(|kind| (kind, route.name.clone())).into();
    }
    Vec::new()
}

fn http_route(endpoint: &Endpoint, parents: &[ParentReference]) -> Child {
    let mut matched = json!({"path": {"type": "Exact", "value": endpoint.path}});
    if let Some((name, value)) = &endpoint.header {
        matched["headers"] = json!([{"type": "Exact", "name": name, "value": value}]);
    }
    let mut spec = json!({
        "parentRefs": parents,
        "rules": [{
            "matches": [matched],
            "backendRefs": [{"name": endpoint.service(), "port": PORT}],
        }],
    });
    if !endpoint.hostnames.is_empty() {
        spec["hostnames"] = json!(endpoint.hostnames);
    }
    child(endpoint, ChildKind::HttpRoute, &spec)
}

fn ingress(endpoint: &Endpoint, ingress: &Ingress) -> Child {
    let backend = json!({"service": {"name": endpoint.service(), "port": {"number": PORT}}});
    let http = json!({"paths": [{"path": endpoint.path, "pathType": "Exact", "backend": backend}]});
    let rules: Vec<Value> = match endpoint.hostnames.as_slice() {
        [] => vec![json!({"http": http})],
        hosts => hosts.iter().map(|host| json!({"host": host, "http": http})).collect(),
    };
    let mut spec = json!({"ingressClassName": ingress.class_name, "rules": rules});
    if let Some(secret) = &ingress.tls_secret_name {
        spec["tls"] = json!([{"hosts": endpoint.hostnames, "secretName": secret}]);
    }
    child(endpoint, ChildKind::Ingress, &spec)
}

fn child(endpoint: &Endpoint, kind: ChildKind, spec: &Value) -> Child {
    let owner = &endpoint.owner;
    owner.child(kind, COMPONENT, &receiver_name(owner), json!({"spec": spec}))
}

#[cfg(test)]
mod tests {
    use sluice_crds::Webhook;

    use super::*;
    use crate::{
        Rejection,
        webhook::{References, validate},
    };

    /// What is rendered of a route, without what all objects of an owner have in common.
    fn rendered(route: &str, more: &str) -> Result<Vec<Value>, Vec<Rejection>> {
        let settings = "{clusters: {default: {bootstrapServers: ['kafka:9092']}}, images: {receiver: r, worker: w}}";
        let metadata = "{name: orders, namespace: shop, uid: u, generation: 3}";
        let spec = format!("{{route: {{{route}, path: /orders}}, verify: {{none: {{}}}}{more}}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: Webhook, metadata: {metadata}, spec: {spec}}}");
        let webhook: Webhook = serde_saphyr::from_str(&yaml).unwrap();
        let settings = serde_saphyr::from_str(settings).unwrap();
        let endpoint = validate(&webhook, &References::default(), &settings)?;
        let objects = super::route(&endpoint).into_iter().map(|child| child.manifest);
        Ok(objects.map(without_what_is_common).collect())
    }

    fn without_what_is_common(mut manifest: Value) -> Value {
        let metadata = manifest["metadata"].as_object_mut().unwrap();
        for key in ["labels", "ownerReferences"] {
            assert!(metadata.remove(key).is_some(), "{key}");
        }
        let annotations = metadata["annotations"].as_object_mut().unwrap();
        assert!(annotations.remove("sluice.dev/applied").is_some());
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
        manifest
    }

    fn documents(yaml: &str) -> Vec<Value> {
        serde_saphyr::from_multiple(yaml).unwrap()
    }

    #[test]
    fn a_gateway_gets_an_http_route() {
        let expected = documents(
            "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: orders-receiver, namespace: shop}
spec:
  parentRefs: [{name: edge, namespace: gateways}]
  hostnames: [hooks.example]
  rules:
    - matches: [{path: {type: Exact, value: /orders}}]
      backendRefs: [{name: orders-receiver, port: 80}]
",
        );
        let route = "parentRefs: [{name: edge, namespace: gateways}], hostnames: [hooks.example]";
        assert_eq!(rendered(route, "").unwrap(), expected);
    }

    #[test]
    fn whatever_is_made_of_a_route_is_looked_for_when_it_is_no_longer_wanted() {
        let kong = "kong: {rateLimit: {perSecond: 5}, allow: [192.0.2.0/24]}";
        let looked_for = all_of_route(&Owner {
            kind: "Webhook",
            name: sluice_crds::NamespacedName { namespace: "shop".into(), name: "orders".into() },
            uid: "u".into(),
            generation: 3,
        });
        for entry in ["parentRefs: [{name: kong}]", "ingress: {className: kong}"] {
            for object in rendered(&format!("{entry}, {kong}"), "").unwrap() {
                let [kind, name] = [&object["kind"], &object["metadata"]["name"]].map(|text| text.as_str().unwrap());
                let found = looked_for.iter().any(|(looked, at)| looked.api().1 == kind && at == name);
                assert!(found, "{kind} {name}");
            }
        }
    }

    #[test]
    fn a_version_is_matched_by_its_path_or_its_header() {
        let matches = |version: &str| {
            let [route] = rendered("parentRefs: [{name: edge}]", version).unwrap().try_into().unwrap();
            route["spec"]["rules"][0]["matches"].clone()
        };
        let path = |value: &str| json!({"type": "Exact", "value": value});
        assert_eq!(matches(", version: {name: v2}"), json!([{"path": path("/v2/orders")}]));
        let header = json!([{"type": "Exact", "name": "x-version", "value": "v2"}]);
        let expected = json!([{"path": path("/orders"), "headers": header}]);
        assert_eq!(matches(", version: {name: v2, header: X-Version}"), expected);
    }

    #[test]
    fn an_ingress_has_a_rule_for_each_host_and_the_certificate_for_all() {
        let expected = documents(
            "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: orders-receiver, namespace: shop}
spec:
  ingressClassName: nginx
  tls: [{hosts: [a.example, b.example], secretName: hooks-tls}]
  rules:
    - host: a.example
      http:
        paths:
          - {path: /v1/orders, pathType: Exact, backend: {service: {name: orders-receiver, port: {number: 80}}}}
    - host: b.example
      http:
        paths:
          - {path: /v1/orders, pathType: Exact, backend: {service: {name: orders-receiver, port: {number: 80}}}}
",
        );
        let route = "ingress: {className: nginx, tlsSecretName: hooks-tls}, hostnames: [a.example, b.example]";
        assert_eq!(rendered(route, ", version: {name: v1}").unwrap(), expected);
        let anywhere = rendered("ingress: {className: nginx}", "").unwrap();
        assert_eq!(anywhere[0]["spec"]["rules"].as_array().unwrap().len(), 1);
        assert_eq!(anywhere[0]["spec"].get("tls"), None);
    }

    #[test]
    fn plugins_come_before_the_route_that_names_them() {
        let expected = documents(
            "
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: orders-receiver-rate-limiting, namespace: shop}
plugin: rate-limiting
config: {second: 5, minute: 100, limit_by: ip, policy: local}
---
apiVersion: configuration.konghq.com/v1
kind: KongPlugin
metadata: {name: orders-receiver-ip-restriction, namespace: shop}
plugin: ip-restriction
config: {allow: [192.0.2.0/24, '2001:db8::1'], deny: [192.0.2.7]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: orders-receiver
  namespace: shop
  annotations: {konghq.com/plugins: 'orders-receiver-rate-limiting,orders-receiver-ip-restriction'}
spec:
  ingressClassName: kong
  rules:
    - http:
        paths:
          - {path: /orders, pathType: Exact, backend: {service: {name: orders-receiver, port: {number: 80}}}}
",
        );
        let kong = "kong: {rateLimit: {perSecond: 5, perMinute: 100}, allow: [192.0.2.0/24, '2001:db8::1'], deny: [192.0.2.7]}";
        assert_eq!(rendered(&format!("ingress: {{className: kong}}, {kong}"), "").unwrap(), expected);
        let by_gateway = rendered(&format!("parentRefs: [{{name: kong}}], {kong}"), "").unwrap();
        assert_eq!(by_gateway[..2], expected[..2]);
        assert_eq!(by_gateway[2]["metadata"], expected[2]["metadata"]);
    }

    #[test]
    fn aws_api_gateway_gets_an_api_with_a_link_an_integration_a_route_and_a_stage() {
        let expected = documents(
            "
apiVersion: apigatewayv2.services.k8s.aws/v1alpha1
kind: API
metadata: {name: orders-receiver, namespace: shop}
spec: {name: shop.orders, protocolType: HTTP}
---
apiVersion: apigatewayv2.services.k8s.aws/v1alpha1
kind: VPCLink
metadata: {name: orders-receiver, namespace: shop}
spec: {name: shop.orders, subnetIDs: [subnet-a, subnet-b], securityGroupIDs: [sg-a]}
---
apiVersion: apigatewayv2.services.k8s.aws/v1alpha1
kind: Integration
metadata: {name: orders-receiver, namespace: shop}
spec:
  apiRef: {from: {name: orders-receiver}}
  integrationType: HTTP_PROXY
  integrationMethod: POST
  payloadFormatVersion: '1.0'
  connectionType: VPC_LINK
  connectionRef: {from: {name: orders-receiver}}
  integrationURI: 'arn:aws:elasticloadbalancing:eu-central-1:012345678901:listener/net/hooks/1/2'
  requestParameters: {'overwrite:path': $request.path}
---
apiVersion: apigatewayv2.services.k8s.aws/v1alpha1
kind: Route
metadata: {name: orders-receiver, namespace: shop}
spec:
  apiRef: {from: {name: orders-receiver}}
  routeKey: POST /v2/orders
  targetRef: {from: {name: orders-receiver}}
---
apiVersion: apigatewayv2.services.k8s.aws/v1alpha1
kind: Stage
metadata: {name: orders-receiver, namespace: shop}
spec: {apiRef: {from: {name: orders-receiver}}, stageName: $default, autoDeploy: true}
",
        );
        let arn = "targetArn: 'arn:aws:elasticloadbalancing:eu-central-1:012345678901:listener/net/hooks/1/2'";
        let with = |link: &str| format!("awsApiGateway: {{{arn}, vpcLink: {link}}}");
        let own = with("{subnetIds: [subnet-a, subnet-b], securityGroupIds: [sg-a]}");
        assert_eq!(rendered(&own, ", version: {name: v2}").unwrap(), expected);
        for (link, key, value) in [
            ("{id: abc123}", "connectionID", json!("abc123")),
            ("{name: shared}", "connectionRef", json!({"from": {"name": "shared"}})),
        ] {
            let [api, integration, route, stage] =
                rendered(&with(link), ", version: {name: v2}").unwrap().try_into().unwrap();
            assert_eq!([&api, &route, &stage], [&expected[0], &expected[3], &expected[4]], "{link}");
            assert_eq!(integration["spec"][key], value, "{link}");
        }
    }

    #[test]
    fn aws_api_gateway_calls_a_public_address_with_the_path() {
        let gateway = "awsApiGateway: {url: 'https://receivers.example:8443', stage: live}";
        let [_, integration, _, stage] = rendered(gateway, "").unwrap().try_into().unwrap();
        let expected = json!({
            "apiRef": {"from": {"name": "orders-receiver"}},
            "integrationType": "HTTP_PROXY",
            "integrationMethod": "POST",
            "payloadFormatVersion": "1.0",
            "connectionType": "INTERNET",
            "integrationURI": "https://receivers.example:8443/orders",
        });
        assert_eq!(integration["spec"], expected);
        assert_eq!(stage["spec"]["stageName"], "live");
    }

    #[test]
    fn what_aws_api_gateway_calls_is_said_once_and_whole() {
        let arn = "targetArn: 'arn:aws:servicediscovery:a'";
        for (gateway, field) in [
            (String::new(), "spec.route.awsApiGateway"),
            (arn.to_owned(), "spec.route.awsApiGateway"),
            (format!("{arn}, vpcLink: {{id: a}}, url: 'https://a.example'"), "spec.route.awsApiGateway"),
            (format!("{arn}, vpcLink: {{}}"), "spec.route.awsApiGateway.vpcLink"),
            (format!("{arn}, vpcLink: {{id: a, name: b}}"), "spec.route.awsApiGateway.vpcLink"),
            (format!("{arn}, vpcLink: {{id: a, securityGroupIds: [b]}}"), "spec.route.awsApiGateway.vpcLink"),
        ] {
            let rejections = rendered(&format!("awsApiGateway: {{{gateway}}}"), "").unwrap_err();
            let fields: Vec<_> = rejections.iter().map(|rejection| rejection.field.as_str()).collect();
            assert_eq!(fields, [field], "{gateway}");
        }
    }

    #[test]
    fn what_is_no_network_is_named() {
        let rejections =
            rendered("ingress: {className: kong}, kong: {allow: [192.0.2.0/33], deny: [all]}", "").unwrap_err();
        let told: Vec<_> = rejections.iter().map(ToString::to_string).collect();
        assert!(told[0].contains("spec.route.kong.allow") && told[0].contains("192.0.2.0/33"), "{told:?}");
        assert!(told[1].contains("spec.route.kong.deny"), "{told:?}");
    }
}
