//! What the API server itself accepts and refuses, with the messages that a user reads.
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    clippy::default_trait_access,
    clippy::cast_possible_truncation,
    reason = "a test ends where something is not as it must be"
)]

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams},
};
use serde_json::Value;
use sluice_crds::{Integration, Topic, Webhook};
use sluice_suite::World;

const ROUTE: &str = "route: {parentRefs: [{name: edge}]}";
const NONE: &str = "verify: {none: {}}";
const SECRETS: &str = "secretRefs: [{name: s, key: k}]";
const SINK: &str = "sink: {http: {url: 'https://api.example/'}}";
const SOURCE: &str = "source: {topic: {name: orders}}";

/// An Integration whose HTTP sink says this too.
fn with_sink(more: &str) -> String {
    format!("{SOURCE}, sink: {{http: {{url: 'https://api.example/', {more}}}}}")
}

fn resource(kind: &str, name: &str, spec: &str) -> String {
    format!("{{apiVersion: sluice.dev/v1alpha1, kind: {kind}, metadata: {{name: {name}}}, spec: {{{spec}}}}}")
}

async fn judge(world: &World, kind: &str, name: &str, spec: &str) -> Result<(), String> {
    let yaml = resource(kind, name, spec);
    let applied = match kind {
        "Topic" => world.apply::<Topic>(&yaml).await.map(drop),
        "Webhook" => world.apply::<Webhook>(&yaml).await.map(drop),
        _ => world.apply::<Integration>(&yaml).await.map(drop),
    };
    applied.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_api_server_accepts_what_is_valid() {
    let world = World::begin("accepted").await.unwrap();
    let hmac = "hmac: {header: X-Signature, signedContent: '{timestamp}.{body}', timestampHeader: X-Time, secretRefs: [{name: s, key: k}]}";
    let cases = [
        ("Topic", String::new()),
        ("Topic", "partitions: 3, config: {retention.ms: '1000'}, managementPolicy: Observe".to_owned()),
        (
            "Topic",
            "schema: {format: Avro, subject: Order, compatibility: FullTransitive, definition: {inline: '\"string\"'}}".to_owned(),
        ),
        (
            "Topic",
            "schema: {registry: east, format: Protobuf, definition: {configMapRef: {name: schemas, key: order.proto}}}".to_owned(),
        ),
        ("Webhook", format!("{ROUTE}, {NONE}")),
        ("Webhook", format!("{ROUTE}, verify: {{{hmac}, tolerance: 1m30s}}, limits: {{body: 512Ki}}")),
        ("Webhook", format!("{ROUTE}, verify: {{preset: {{name: GitHub, {SECRETS}}}}}")),
        (
            "Webhook",
            format!("{ROUTE}, verify: {{preset: {{name: Twilio, {SECRETS}, url: 'https://hooks.example/sms'}}}}"),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, verify: {{hmac: {{header: X, separator: ',', signedContent: '{{header:X-Id}}.{{body}}', {SECRETS}}}}}"
            ),
        ),
        ("Webhook", format!("{ROUTE}, verify: {{bearer: {{{SECRETS}}}}}")),
        ("Webhook", format!("{ROUTE}, {NONE}, event: {{cloudEvents: AcceptStructured}}")),
        (
            "Webhook",
            format!(
                "{ROUTE}, {NONE}, deduplicate: {{window: 1h, store: {{redis: {{urlSecretRef: {{name: redis, key: url}}}}}}}}"
            ),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, {NONE}, event: {{cloudEvents: AcceptBatches, sequence: {{header: X-Seq}}, headers: [X-Tenant]}}, patience: 5s"
            ),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, {NONE}, limits: {{requestsPerSecond: 500, burst: 1000, total: {{requestsPerSecond: 900}}, source: {{requestsPerSecond: 5, trustedHops: 0}}}}"
            ),
        ),
        ("Webhook", format!("{ROUTE}, {NONE}, validate: {{jsonSchema: {{inline: {{type: object}}}}, onInvalid: Refuse}}")),
        (
            "Webhook",
            format!(
                "{ROUTE}, {NONE}, validate: {{jsonSchema: {{configMapRef: {{name: a, key: b}}}}}}, deadLetters: {{topic: {{partitions: 3}}}}"
            ),
        ),
        ("Webhook", format!("{ROUTE}, {NONE}, version: {{name: v2}}")),
        (
            "Webhook",
            format!("route: {{ingress: {{className: nginx, tlsSecretName: tls}}, hostnames: [a.example]}}, {NONE}, version: {{name: v2}}"),
        ),
        (
            "Webhook",
            format!("route: {{parentRefs: [{{name: edge}}], kong: {{rateLimit: {{perMinute: 100}}, deny: ['::/0']}}}}, {NONE}"),
        ),
        (
            "Webhook",
            format!("route: {{awsApiGateway: {{targetArn: 'arn:aws:servicediscovery:eu-central-1:0:service/a', vpcLink: {{id: a}}}}}}, {NONE}, version: {{name: v2}}"),
        ),
        (
            "Webhook",
            format!("route: {{awsApiGateway: {{url: 'https://a.example:8443', stage: live}}, path: /a}}, {NONE}, openApi: {{target: 'http://a.example'}}"),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, {NONE}, version: {{name: v1.2, header: X-Version, deprecated: {{since: '2026-01-31T00:00:00Z', sunset: '2026-01-31T00:00:00Z', documentation: 'https://a.example/v2?a=b#c'}}}}"
            ),
        ),
        ("Webhook", format!("{ROUTE}, verify: {{basic: {{username: partner, {SECRETS}}}}}")),
        ("Webhook", format!("{ROUTE}, verify: {{apiKey: {{{SECRETS}}}}}")),
        (
            "Webhook",
            format!(
                "{ROUTE}, verify: {{jwt: {{issuer: 'https://id.example', audience: [hooks], jwksUri: 'https://id.example/jwks'}}}}"
            ),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, verify: {{clientCertificate: {{allowed: [{{uri: 'spiffe://partner/sender'}}], proxies: ['10.0.3.0/24']}}}}"
            ),
        ),
        ("Integration", format!("{SOURCE}, {SINK}")),
        ("Integration", format!("{SOURCE}, {SINK}, decode: {{format: Text, maxSize: 2Mi}}")),
        (
            "Integration",
            with_sink("auth: {oauth2: {tokenUrl: 'https://id.example/token', clientIdRef: {name: s, key: id}, clientSecretRef: {name: s, key: secret}, clientAuthentication: Post, scopes: [a.b], audience: api}}"),
        ),
        (
            "Integration",
            with_sink("auth: {bearer: {tokenRef: {name: s, key: k}}}, tls: {caRef: {name: s, key: ca.crt}, certificateRef: {name: s, key: tls.crt}, keyRef: {name: s, key: tls.key}}"),
        ),
        ("Integration", with_sink("auth: {basic: {usernameRef: {name: s, key: u}, passwordRef: {name: s, key: p}}}")),
        ("Integration", with_sink("auth: {apiKey: {query: key, keyRef: {name: s, key: k}}}")),
        (
            "Integration",
            format!(
                "{SOURCE}, sink: {{http: {{url: 'https://api.example/a/{{{{ .id }}}}?b={{{{ .b }}}}', method: '{{{{ .verb }}}}', body: None, 
                 query: {{c: '{{{{ .c }}}}'}}, headers: {{X-A: '{{{{ .a }}}}'}}, successCodes: [404, 409]}}}}"
            ),
        ),
        (
            "Integration",
            format!(
                "{SOURCE}, {SINK}, steps: [{{name: a, validate: {{jsonSchema: {{inline: {{type: object, required: [id]}}}}}}}},
                 {{name: b, validate: {{jsonSchema: {{configMapRef: {{name: schemas, key: order.json}}}}}}}}]"
            ),
        ),
        (
            "Integration",
            format!(
                "{SOURCE}, {SINK}, delivery: {{circuitBreaker: {{failures: 0, failureShare: {{percent: 50}}, openFor: 1m}}, rateLimit: {{perSecond: 50, burst: 100}}, onDataError: Halt, onDeliveryError: Halt}}, deadLetters: {{headerStyle: Spring}}"
            ),
        ),
        ("Integration", format!("source: {{kafka: {{topics: [legacy.events]}}, group: shop.g}}, {SINK}, replicas: 0")),
        ("Integration", format!("{SOURCE}, {SINK}, scaling: {{minReplicas: 0, maxReplicas: 4, targetLag: 50, cooldown: 1m}}")),
        ("Integration", format!("{SOURCE}, {SINK}, scaling: {{maxReplicas: 4}}")),
    ];
    for (index, (kind, spec)) in cases.iter().enumerate() {
        judge(&world, kind, &format!("ok-{index}"), spec)
            .await
            .unwrap_or_else(|error| panic!("{kind} {spec}: {error}"));
    }
}

/// The value without fields that are null.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(fields.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// Helm and other tools write it for what they have no value for.
#[tokio::test]
async fn a_null_is_a_field_that_is_not_there() {
    let world = World::begin("nulls").await.unwrap();
    let sources = "source: {topic: {name: orders}, webhook: null, kafka: null, group: null, startFrom: null}";
    let sinks = "sink: {http: {url: 'https://api.example/', method: null, auth: null, tls: null}, kafka: null}";
    let cases = [
        (
            "Topic",
            "partitions: null, managementPolicy: null, schema: {format: Avro, compatibility: null, subject: null, \
             definition: {inline: a, configMapRef: null}}"
                .to_owned(),
            "schema: {format: Avro, definition: {inline: a}}".to_owned(),
        ),
        (
            "Webhook",
            format!(
                "{ROUTE}, verify: {{none: {{}}, preset: null, tolerance: null}}, topicRef: null, validate: null, limits: null"
            ),
            format!("{ROUTE}, {NONE}"),
        ),
        (
            "Integration",
            format!(
                "{sources}, {sinks}, decode: {{format: null}}, steps: [{{name: a, filter: 'true', map: null}}], delivery: {{guarantee: null, \
                 retry: null, circuitBreaker: null}}, deadLetters: {{topicRef: null, headerStyle: null}}, scaling: null, replicas: null"
            ),
            format!("{SOURCE}, {SINK}, steps: [{{name: a, filter: 'true'}}]"),
        ),
    ];
    for (kind, nulls, without) in cases {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("sluice.dev", "v1alpha1", kind));
        let api = Api::<DynamicObject>::namespaced_with(world.client.clone(), &world.namespace, &resource);
        let spec = async |name: &str, spec: &str, applied: bool| {
            let manifest: Value = serde_saphyr::from_str(&self::resource(kind, name, spec)).unwrap();
            let made = if applied {
                api.patch(name, &PatchParams::apply("helm"), &Patch::Apply(manifest)).await
            } else {
                api.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await
            };
            without_nulls(made.unwrap_or_else(|error| panic!("{kind} {spec}: {error}")).data["spec"].take())
        };
        let expected = spec("without", &without, false).await;
        assert_eq!(spec("created", &nulls, false).await, expected);
        assert_eq!(spec("applied", &nulls, true).await, expected);
    }
}

#[tokio::test]
async fn the_api_server_refuses_what_is_not_and_says_what_to_write() {
    let world = World::begin("refused").await.unwrap();
    let long = "a".repeat(46);
    let cases = [
        ("Topic", "t", "partitions: 0".to_owned(), "spec.partitions"),
        ("Topic", "t", "topicName: 'a b'".to_owned(), "spec.topicName"),
        ("Topic", "t", "schema: {format: Xml, definition: {inline: a}}".to_owned(), "spec.schema.format"),
        (
            "Topic",
            "t",
            "schema: {format: Avro, subject: 'a/b', definition: {inline: a}}".to_owned(),
            "spec.schema.subject",
        ),
        (
            "Topic",
            "t",
            "schema: {format: Avro, definition: {}}".to_owned(),
            "write exactly one of inline, configMapRef",
        ),
        ("Webhook", "w", format!("{ROUTE}, verify: {{}}"), "write exactly one of preset, hmac, bearer"),
        ("Webhook", "w", format!("route: {{path: /a}}, {NONE}"), "write exactly one of parentRefs, ingress"),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], ingress: {{className: nginx}}}}, {NONE}"),
            "write exactly one of parentRefs, ingress",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{ingress: {{className: nginx, tlsSecretName: tls}}}}, {NONE}"),
            "a certificate is for host names",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{ingress: {{className: nginx}}}}, {NONE}, version: {{name: v1, header: X-Version}}"),
            "an Ingress cannot choose by a header",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], hostnames: ['Hooks.example']}}, {NONE}"),
            "spec.route.hostnames",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], path: /a/../b}}, {NONE}"),
            "gateways take no empty segment",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], path: '/a%2fb'}}, {NONE}"),
            "gateways take no empty segment",
        ),
        ("Webhook", "w", format!("route: {{parentRefs: [{{name: edge}}], path: '/50%'}}, {NONE}"), "no % without"),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], kong: {{}}}}, {NONE}"),
            "at least one of rateLimit",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], kong: {{rateLimit: {{}}}}}}, {NONE}"),
            "write perSecond, perMinute, or both",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{parentRefs: [{{name: edge}}], awsApiGateway: {{url: 'https://a.example'}}}}, {NONE}"),
            "write exactly one of parentRefs, ingress, awsApiGateway",
        ),
        ("Webhook", "w", format!("route: {{awsApiGateway: {{}}}}, {NONE}"), "write vpcLink and targetArn, or url"),
        (
            "Webhook",
            "w",
            format!("route: {{awsApiGateway: {{vpcLink: {{id: a}}}}}}, {NONE}"),
            "write vpcLink and targetArn, or url",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{awsApiGateway: {{url: 'https://a.example/path'}}}}, {NONE}"),
            "spec.route.awsApiGateway.url",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{awsApiGateway: {{url: 'https://a.example', stage: a/b}}}}, {NONE}"),
            "spec.route.awsApiGateway.stage",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{awsApiGateway: {{targetArn: 'arn:aws:lambda:a', vpcLink: {{id: a}}}}}}, {NONE}"),
            "spec.route.awsApiGateway.targetArn",
        ),
        (
            "Webhook",
            "w",
            format!(
                "route: {{awsApiGateway: {{targetArn: 'arn:aws:servicediscovery:a', vpcLink: {{id: a, name: b}}}}}}, {NONE}"
            ),
            "vpcLink: write exactly one of id, name, subnetIds",
        ),
        (
            "Webhook",
            "w",
            format!(
                "route: {{awsApiGateway: {{targetArn: 'arn:aws:servicediscovery:a', vpcLink: {{id: a, securityGroupIds: [b]}}}}}}, {NONE}"
            ),
            "securityGroupIds are for a link that Sluice makes",
        ),
        (
            "Webhook",
            "w",
            format!("route: {{awsApiGateway: {{url: 'https://a.example'}}, hostnames: [a.example]}}, {NONE}"),
            "leave hostnames and kong out",
        ),
        (
            "Webhook",
            "w",
            format!(
                "route: {{awsApiGateway: {{url: 'https://a.example'}}}}, {NONE}, version: {{name: v1, header: X-V}}"
            ),
            "nor can AWS API Gateway",
        ),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, openApi: {{target: a.example}}"), "spec.openApi.target"),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, version: {{name: 'a/b'}}"), "spec.version.name"),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, {NONE}, version: {{name: v1, deprecated: {{since: soon}}}}"),
            "spec.version.deprecated.since",
        ),
        (
            "Webhook",
            "w",
            format!(
                "{ROUTE}, {NONE}, version: {{name: v1, deprecated: {{since: '2026-01-31T00:00:00Z', sunset: '2026-01-30T23:59:59Z'}}}}"
            ),
            "sunset is before since",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{none: {{}}, bearer: {{{SECRETS}}}}}"),
            "write exactly one of preset",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{preset: {{name: Twilio, {SECRETS}}}}}"),
            "write url, or route.hostnames",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{preset: {{name: GitHub, url: 'https://a.example/', {SECRETS}}}}}"),
            "url is for Twilio",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{basic: {{username: 'a:b', {SECRETS}}}}}"),
            "spec.verify.basic.username",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{jwt: {{issuer: i, audience: [], jwksUri: 'https://id.example/jwks'}}}}"),
            "spec.verify.jwt.audience",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{clientCertificate: {{allowed: [{{uri: a, dns: b}}]}}}}"),
            "write exactly one of uri, dns",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, verify: {{clientCertificate: {{format: Rfc9440, allowed: [{{dns: b}}]}}}}"),
            "with format Rfc9440 write",
        ),
        ("Webhook", "w", format!("route: {{parentRefs: []}}, {NONE}"), "spec.route.parentRefs"),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, {NONE}, event: {{id: {{header: a, bodyHash: {{}}}}}}"),
            "event.id: write exactly one of",
        ),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, event: {{key: {{jsonPointer: id}}}}"), "spec.event.key.jsonPointer"),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, limits: {{body: 1M}}"), "spec.limits.body"),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, limits: {{burst: 5}}"), "burst goes with requestsPerSecond"),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, {NONE}, deadLetters: {{}}"),
            "only events that validate holds back go there",
        ),
        (
            "Webhook",
            "w",
            format!(
                "{ROUTE}, {NONE}, deadLetters: {{}}, validate: {{jsonSchema: {{inline: {{}}}}, onInvalid: Refuse}}"
            ),
            "only events that validate holds back go there",
        ),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, {NONE}, limits: {{source: {{requestsPerSecond: 1, trustedHops: 17}}}}"),
            "spec.limits.source.trustedHops",
        ),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, deduplicate: {{store: {{}}}}"), "spec.deduplicate.store.redis"),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, event: {{cloudEvents: Maybe}}"), "spec.event.cloudEvents"),
        (
            "Webhook",
            "w",
            format!("{ROUTE}, {NONE}, event: {{sequence: {{}}}}"),
            "write exactly one of header, jsonPointer",
        ),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, event: {{headers: ['a b']}}"), "spec.event.headers"),
        ("Webhook", "w", format!("{ROUTE}, {NONE}, topicRef: {{name: a}}, topic: {{}}"), "write topicRef"),
        ("Webhook", &long, format!("{ROUTE}, {NONE}"), "use at most 45"),
        (
            "Webhook",
            "w",
            format!(
                "{ROUTE}, verify: {{hmac: {{header: X, signedContent: '{{timestamp}}.{{body}}', secretRefs: [{{name: s, key: k}}]}}}}"
            ),
            "needs timestampHeader",
        ),
        ("Integration", "i", format!("source: {{}}, {SINK}"), "source: write exactly one of topic, webhook, kafka"),
        ("Integration", "i", format!("{SOURCE}, sink: {{}}"), "sink: write exactly one of http, kafka"),
        ("Integration", "i", format!("{SOURCE}, sink: {{http: {{url: 'ftp://x'}}}}"), "spec.sink.http.url"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{kafka: {{}}}}"),
            "kafka: write exactly one of topic, topicName",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{kafka: {{topic: {{name: a}}, topicName: b}}}}"),
            "kafka: write exactly one of topic, topicName",
        ),
        ("Integration", "i", format!("{SOURCE}, sink: {{kafka: {{topicName: 'a b'}}}}"), "spec.sink.kafka.topicName"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, delivery: {{guarantee: ExactlyOnce}}"),
            "ExactlyOnce is only for sink.kafka",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{kafka: {{topicName: b}}}}, delivery: {{rateLimit: {{perSecond: 1}}}}"),
            "circuitBreaker and rateLimit are for APIs",
        ),
        ("Integration", "i", with_sink("auth: {}"), "auth: write exactly one of oauth2, bearer, basic, apiKey"),
        (
            "Integration",
            "i",
            with_sink("auth: {apiKey: {header: X, query: x, keyRef: {name: s, key: k}}}"),
            "apiKey: write exactly one of header, query",
        ),
        ("Integration", "i", with_sink("tls: {keyRef: {name: s, key: k}}"), "certificateRef and keyRef go together"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{http: {{url: 'http://a.example/', tls: {{}}}}}}"),
            "only an https:// address uses certificates",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{http: {{url: 'https://{{{{ .host }}}}/'}}}}"),
            "spec.sink.http.url",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{http: {{url: 'https://a.example/', method: TRACE}}}}"),
            "spec.sink.http.method",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, sink: {{http: {{url: 'https://a.example/', successCodes: [100]}}}}"),
            "spec.sink.http.successCodes",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, steps: [{{name: a}}]"),
            "a step is exactly one of filter, map, validate",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, steps: [{{name: a, filter: 'true'}}, {{name: a, filter: 'true'}}]"),
            "give each step a name of its own",
        ),
        ("Integration", "i", format!("{SOURCE}, {SINK}, delivery: {{timeout: 10}}"), "spec.delivery.timeout"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, steps: [{{name: a, validate: {{jsonSchema: {{}}}}}}]"),
            "jsonSchema: write exactly one of inline, configMapRef",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, steps: [{{name: a, validate: {{jsonSchema: {{inline: 'x'}}}}}}]"),
            "spec.steps[0].validate.jsonSchema.inline",
        ),
        ("Integration", "i", format!("{SOURCE}, {SINK}, decode: {{format: Xml}}"), "spec.decode.format"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, scaling: {{minReplicas: 3, maxReplicas: 2}}"),
            "scaling: maxReplicas is smaller than minReplicas",
        ),
        ("Integration", "i", format!("{SOURCE}, {SINK}, scaling: {{maxReplicas: 0}}"), "spec.scaling.maxReplicas"),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, delivery: {{rateLimit: {{perSecond: 0}}}}"),
            "spec.delivery.rateLimit.perSecond",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, delivery: {{circuitBreaker: {{failureShare: {{percent: 101}}}}}}"),
            "spec.delivery.circuitBreaker.failureShare.percent",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, delivery: {{circuitBreaker: {{failures: 0}}}}"),
            "circuitBreaker: with failures 0 write failureShare, or nothing opens the circuit",
        ),
        (
            "Integration",
            "i",
            format!("{SOURCE}, {SINK}, deadLetters: {{headerStyle: RabbitMq}}"),
            "spec.deadLetters.headerStyle",
        ),
        ("Integration", "i.dotted", format!("{SOURCE}, {SINK}"), "use at most 45"),
    ];
    for (kind, name, spec, message) in cases {
        let error = judge(&world, kind, name, &spec).await.expect_err(&format!("{kind} {spec} was accepted"));
        assert!(error.contains(message), "{kind} {spec}: {error}");
    }
}

#[tokio::test]
async fn what_is_immutable_cannot_be_changed_nor_set_later() {
    let world = World::begin("immutable").await.unwrap();
    judge(&world, "Topic", "orders", "partitions: 1").await.unwrap();
    for (spec, message) in [("cluster: east", "cluster is immutable"), ("topicName: other", "topicName is immutable")] {
        let error = judge(&world, "Topic", "orders", spec).await.unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_new_object_is_unknown_before_anybody_looked() {
    let world = World::begin("first-sight").await.unwrap();
    // Another namespace would do as well: what counts is the answer to the creation itself.
    let topic: Topic = world.apply(&resource("Topic", "orders", "")).await.unwrap();
    let conditions = topic.status.unwrap().conditions;
    assert_eq!(
        (conditions[0].type_.as_str(), conditions[0].status.as_str(), conditions[0].reason.as_str()),
        ("Ready", "Unknown", "Pending")
    );
    let _: Api<Topic> = world.api();
}
