//! What the spec of a resource names and the resource cannot do without, as its status lists it: what a Topic's `usedBy` says, seen from
//! the other side, with ConfigMaps, Secrets and Gateways.

use std::collections::BTreeSet;

use sluice_crds::{HttpSink, Integration, PodSettings, SecretReference, SinkAuth, SinkTls, Verify, Webhook};

use crate::topic::{Target, Use, named_by_integration, named_by_webhook};

/// What an Integration depends on, as `<kind>/<namespace>/<name>` and in order.
pub(crate) fn of_integration(integration: &Integration) -> Vec<String> {
    let spec = &integration.spec;
    let mut all = Dependencies::beside(integration.metadata.namespace.as_deref());
    all.topics(&named_by_integration(integration).1);
    all.extend("ConfigMap", spec.config_map_names());
    all.pods(&spec.pods);
    all.extend("Secret", spec.kafka_secret_name.as_deref());
    all.extend("Secret", spec.sink.http.iter().flat_map(secrets_of_sink).map(|secret| secret.name.as_str()));
    all.list()
}

/// What a Webhook depends on, as `<kind>/<namespace>/<name>` and in order.
pub(crate) fn of_webhook(webhook: &Webhook) -> Vec<String> {
    let spec = &webhook.spec;
    let mut all = Dependencies::beside(webhook.metadata.namespace.as_deref());
    all.topics(&named_by_webhook(webhook).1);
    all.extend("ConfigMap", spec.config_map_name());
    all.pods(&spec.pods);
    all.extend("Secret", spec.kafka_secret_name.as_deref());
    let store = spec.deduplicate.store.iter().map(|store| &store.redis.url_secret_ref);
    all.extend("Secret", secrets_of_senders(&spec.verify).chain(store).map(|secret| secret.name.as_str()));
    all.extend("Secret", spec.route.ingress.iter().filter_map(|ingress| ingress.tls_secret_name.as_deref()));
    let link = spec.route.aws_api_gateway.as_ref().and_then(|gateway| gateway.vpc_link.as_ref());
    all.extend("VPCLink", link.and_then(|link| link.name.as_deref()));
    for gateway in &spec.route.parent_refs {
        let namespace = gateway.namespace.as_deref().unwrap_or(all.namespace);
        all.names.insert(format!("Gateway/{namespace}/{}", gateway.name));
    }
    all.list()
}

/// Names, each once.
struct Dependencies<'a> {
    namespace: &'a str,
    names: BTreeSet<String>,
}

impl<'a> Dependencies<'a> {
    fn beside(namespace: Option<&'a str>) -> Self {
        Self { namespace: namespace.unwrap_or_default(), names: BTreeSet::new() }
    }

    fn extend<'n>(&mut self, kind: &str, names: impl IntoIterator<Item = &'n str>) {
        let namespace = self.namespace;
        self.names.extend(names.into_iter().map(|name| format!("{kind}/{namespace}/{name}")));
    }

    fn pods(&mut self, pods: &PodSettings) {
        self.extend("ConfigMap", pods.ca_config_map_ref.iter().map(|reference| reference.name.as_str()));
        self.extend("Secret", pods.secret_names());
    }

    fn topics(&mut self, uses: &BTreeSet<Use>) {
        self.names.extend(uses.iter().filter_map(|one| match &one.target {
            Target::Topic(name) => Some(format!("Topic/{name}")),
            Target::EventsOf(name) => Some(format!("Webhook/{name}")),
            // No resource of Kubernetes.
            Target::Kafka { .. } => None,
        }));
    }

    fn list(self) -> Vec<String> {
        self.names.into_iter().collect()
    }
}

fn secrets_of_sink(sink: &HttpSink) -> impl Iterator<Item = &SecretReference> {
    let auth = sink.auth.iter().flat_map(|SinkAuth { oauth2, bearer, basic, api_key }| {
        let oauth2 = oauth2.iter().flat_map(|oauth2| [&oauth2.client_id_ref, &oauth2.client_secret_ref]);
        let basic = basic.iter().flat_map(|basic| [&basic.username_ref, &basic.password_ref]);
        let others = bearer.iter().map(|bearer| &bearer.token_ref).chain(api_key.iter().map(|key| &key.key_ref));
        oauth2.chain(basic).chain(others)
    });
    let tls = sink.tls.iter().flat_map(|SinkTls { ca_ref, certificate_ref, key_ref }| {
        [ca_ref, certificate_ref, key_ref].into_iter().flatten()
    });
    auth.chain(tls)
}

fn secrets_of_senders(verify: &Verify) -> impl Iterator<Item = &SecretReference> {
    let Verify { preset, hmac, bearer, basic, api_key, jwt: _, client_certificate: _, none: _, tolerance: _ } = verify;
    let lists = [
        preset.as_ref().map(|preset| &preset.secret_refs),
        hmac.as_ref().map(|hmac| &hmac.secret_refs),
        bearer.as_ref().map(|bearer| &bearer.secret_refs),
        basic.as_ref().map(|basic| &basic.secret_refs),
        api_key.as_ref().map(|key| &key.secret_refs),
    ];
    lists.into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource<K: serde::de::DeserializeOwned>(kind: &str, name: &str, spec: &str) -> K {
        let metadata = format!("{{name: {name}, namespace: shop}}");
        let yaml = format!("{{apiVersion: sluice.dev/v1alpha1, kind: {kind}, metadata: {metadata}, spec: {spec}}}");
        serde_saphyr::from_str(&yaml).unwrap()
    }

    #[test]
    fn an_integration_depends_on_what_it_reads_and_writes_and_on_its_secrets_and_schemas() {
        let spec = "{source: {webhook: {name: stripe}}, deadLetters: {topicRef: {name: dead}},
            steps: [{name: a, validate: {jsonSchema: {configMapRef: {name: schemas, key: a.json}}}}],
            sink: {http: {url: 'https://a.example/',
                auth: {oauth2: {tokenUrl: 'https://id.example/', clientIdRef: {name: id, key: k}, clientSecretRef: {name: id, key: s}}},
                tls: {caRef: {name: authority, key: ca.crt}}}},
            pods: {caConfigMapRef: {name: ca, key: ca.pem}, imagePullSecrets: [{name: pull}],
                env: [{name: HTTPS_PROXY, secretRef: {name: proxy, key: url}}]}}";
        let expected = [
            "ConfigMap/shop/ca",
            "ConfigMap/shop/schemas",
            "Secret/shop/authority",
            "Secret/shop/id",
            "Secret/shop/proxy",
            "Secret/shop/pull",
            "Topic/shop/dead",
            "Webhook/shop/stripe",
        ];
        assert_eq!(of_integration(&resource("Integration", "to-api", spec)), expected);
        let spec =
            "{source: {kafka: {topics: [legacy]}}, sink: {kafka: {topic: {name: orders}}}, kafkaSecretName: kafka}";
        assert_eq!(
            of_integration(&resource("Integration", "copy", spec)),
            ["Secret/shop/kafka", "Topic/shop/copy-dead-letters", "Topic/shop/orders"]
        );
    }

    #[test]
    fn a_webhook_depends_on_gateways_secrets_and_topics() {
        let spec = "{route: {parentRefs: [{name: edge, namespace: gateways}, {name: own}]},
            verify: {preset: {name: GitHub, secretRefs: [{name: github, key: current}, {name: github, key: next}]}},
            deduplicate: {store: {redis: {urlSecretRef: {name: redis, key: url}}}},
            validate: {jsonSchema: {configMapRef: {name: schemas, key: a.json}}}}";
        let expected = [
            "ConfigMap/shop/schemas",
            "Gateway/gateways/edge",
            "Gateway/shop/own",
            "Secret/shop/github",
            "Secret/shop/redis",
            "Topic/shop/github",
            "Topic/shop/github-webhook-dead-letters",
        ];
        assert_eq!(of_webhook(&resource("Webhook", "github", spec)), expected);
        let spec =
            "{route: {ingress: {className: nginx, tlsSecretName: tls}}, verify: {none: {}}, topicRef: {name: events}}";
        assert_eq!(of_webhook(&resource("Webhook", "plain", spec)), ["Secret/shop/tls", "Topic/shop/events"]);
        let spec = "{route: {awsApiGateway: {targetArn: 'arn:aws:servicediscovery:a', vpcLink: {name: edge}}}, verify: {none: {}}}";
        assert_eq!(of_webhook(&resource("Webhook", "aws", spec)), ["Topic/shop/aws", "VPCLink/shop/edge"]);
    }
}
