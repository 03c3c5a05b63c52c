//! What senders present as it is: a bearer token, a user name and a password, a key in a header; and the identity that a gateway forwards.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use sluice_crds::{
    CertificateFormat, PresetName,
    wire::{CertificateName, RejectedBecause, Verification},
};

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, Running, Setup},
    sender::{Answer, Sender, fresh_id, full},
};

/// As it stands in the file of the secret.
const SECRET: &str = "It's a Secret to Everybody";

async fn receiver(topic: &str, verification: impl FnOnce(&Setup) -> Verification) -> Running {
    let mut setup = Setup::new(connection(), topic);
    setup.config.verification = verification(&setup);
    setup.ready().await
}

async fn send(receiver: &Running, headers: &[(&str, &str)]) -> Answer {
    let sender = Sender::to(receiver.endpoint);
    let mut request = sender.request(Method::POST, PATH);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    sender.send(request.body(full(fresh_id())).unwrap()).await.unwrap()
}

/// Sends a request with each of these headers: the first ones are genuine. Each of the others is
/// refused with the same answer, whose `WWW-Authenticate` is this one.
async fn check(
    receiver: &Running,
    topic: &str,
    genuine: &[(&str, &str)],
    forged: &[&[(&str, &str)]],
    asks: Option<&str>,
) {
    for header in genuine {
        assert_eq!(send(receiver, &[*header]).await.status, 202, "{header:?}");
    }
    for headers in forged {
        let answer = send(receiver, headers).await;
        let told = (answer.status, answer.body.as_ref(), answer.header("www-authenticate"));
        assert_eq!(told, (401, &b"unauthorized\n"[..], asks), "{headers:?}");
    }
    let written = records(&connection(), topic).await;
    assert_eq!(written.len(), genuine.len());
    let refused = u64::try_from(forged.len()).unwrap();
    assert_eq!(receiver.status().await.rejected, [(RejectedBecause::Signature, refused)].into());
}

#[tokio::test]
async fn a_bearer_token_is_taken_as_it_is_and_no_other() {
    let topic = topic(&connection(), &[]).await;
    let bearer = |setup: &Setup| Verification::Bearer { secrets: vec![setup.secret("current")] };
    let receiver = receiver(&topic, bearer).await;
    let good = format!("Bearer {SECRET}");
    let genuine = [("authorization", good.as_str()), ("authorization", "bearer It's a Secret to Everybody")];
    let forged: [&[(&str, &str)]; 6] = [
        &[("authorization", "Bearer another")],
        &[("authorization", "Bearer")],
        &[("authorization", SECRET)],
        &[("authorization", &good[..good.len() - 1])],
        &[("authorization", good.as_str()), ("authorization", good.as_str())],
        &[],
    ];
    check(&receiver, &topic, &genuine, &forged, Some("Bearer")).await;
}

#[tokio::test]
async fn a_password_is_taken_with_its_user_name_only() {
    let topic = topic(&connection(), &[]).await;
    let basic =
        |setup: &Setup| Verification::Basic { username: "partner".into(), secrets: vec![setup.secret("current")] };
    let receiver = receiver(&topic, basic).await;
    let encoded = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let good = encoded(&format!("partner:{SECRET}"));
    let nobody = format!("nobody:{SECRET}");
    let [user, password, none] = [nobody.as_str(), "partner:another", "partner"].map(encoded);
    let forged: [&[(&str, &str)]; 5] = [
        &[("authorization", user.as_str())],
        &[("authorization", password.as_str())],
        &[("authorization", none.as_str())],
        &[("authorization", "Basic !")],
        &[],
    ];
    check(&receiver, &topic, &[("authorization", good.as_str())], &forged, Some("Basic realm=\"webhook\"")).await;
}

#[tokio::test]
async fn a_key_is_taken_in_its_header_only() {
    let topic = topic(&connection(), &[]).await;
    let key = |setup: &Setup| {
        let secrets = vec![setup.secret("current"), setup.secret("next")];
        std::fs::write(&secrets[1], "the next one\n").unwrap();
        Verification::ApiKey { header: "X-Api-Key".into(), secrets }
    };
    let receiver = receiver(&topic, key).await;
    let genuine = [("X-Api-Key", SECRET), ("x-api-key", "the next one")];
    let forged: [&[(&str, &str)]; 4] = [
        &[("x-api-key", "another")],
        &[("x-api-key", SECRET), ("x-api-key", SECRET)],
        &[("authorization", SECRET)],
        &[],
    ];
    check(&receiver, &topic, &genuine, &forged, None).await;
}

#[tokio::test]
async fn gitlabs_plain_token_is_taken_in_its_header_only() {
    let topic = topic(&connection(), &[]).await;
    let token = |setup: &Setup| Verification::Preset {
        name: PresetName::GitLab,
        secrets: vec![setup.secret("current")],
        urls: vec![],
    };
    let receiver = receiver(&topic, token).await;
    let forged: [&[(&str, &str)]; 5] = [
        &[("x-gitlab-token", "another")],
        &[("x-gitlab-token", &SECRET[..SECRET.len() - 1])],
        &[("x-gitlab-token", SECRET), ("x-gitlab-token", SECRET)],
        &[("authorization", SECRET)],
        &[],
    ];
    check(&receiver, &topic, &[("X-Gitlab-Token", SECRET)], &forged, None).await;
}

/// The sender of each request is on this machine, and writes the header himself.
#[tokio::test]
async fn a_forwarded_certificate_is_believed_only_where_it_comes_from_the_gateways_proxies() {
    let partner = "URI=spiffe://partner.example/sender";
    let certificate = |proxies: &str| {
        let proxies = vec![proxies.parse().unwrap()];
        move |_: &Setup| Verification::ClientCertificate {
            format: CertificateFormat::Envoy,
            header: "X-Forwarded-Client-Cert".into(),
            allowed: vec![CertificateName::Uri("spiffe://partner.example/sender".into())],
            proxies,
        }
    };
    let topic = topic(&connection(), &[]).await;
    let receiver_behind = async |proxies: &str| receiver(&topic, certificate(proxies)).await;
    let stranger = receiver_behind("192.0.2.0/24").await;
    check(&stranger, &topic, &[], &[&[("x-forwarded-client-cert", partner)]], None).await;
    let metrics = stranger.metrics().await;
    let cause =
        r#"sluice_receiver_signatures_refused_total{namespace="shop",webhook="github",reason="ProxyUnknown"} 1"#;
    assert!(metrics.contains(cause), "{metrics}");

    let proxy = receiver_behind("127.0.0.0/8").await;
    let two = format!("{partner},URI=spiffe://other.example/sender");
    let forged: [&[(&str, &str)]; 4] = [
        &[("x-forwarded-client-cert", "URI=spiffe://other.example/sender")],
        &[("x-forwarded-client-cert", two.as_str())],
        &[("x-forwarded-client-cert", partner), ("x-forwarded-client-cert", partner)],
        &[],
    ];
    check(&proxy, &topic, &[("x-forwarded-client-cert", partner)], &forged, None).await;
}
