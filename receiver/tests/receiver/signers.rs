//! What the providers' own libraries sign is taken; what differs from it by a bit is not.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
};

use http::Method;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sluice_cluster::testing;
use sluice_crds::PresetName;

use crate::{
    kafka::{connection, records, topic},
    running::{PATH, Setup, URL},
    sender::{Sender, fresh_id, full},
};

/// A library that signs for a provider.
struct Signer {
    program: &'static str,
    name: &'static str,
    preset: PresetName,
    secrets: [&'static str; 2],
}

/// A request as its sender would send it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    id: String,
    pub(crate) headers: Map<String, Value>,
    query: Option<String>,
    pub(crate) body: String,
}

const PLAIN: [&str; 2] = ["5up3r s3cret", "Ünï\u{2713} another"];
const STANDARD: [&str; 2] = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];
const SIGNERS: [Signer; 11] = [
    Signer { program: "sign.mjs", name: "GitHub", preset: PresetName::GitHub, secrets: PLAIN },
    Signer { program: "sign.mjs", name: "GitLab", preset: PresetName::GitLab, secrets: STANDARD },
    Signer { program: "sign.mjs", name: "Shopify", preset: PresetName::Shopify, secrets: PLAIN },
    Signer { program: "sign.py", name: "Slack", preset: PresetName::Slack, secrets: PLAIN },
    Signer { program: "sign.mjs", name: "StandardWebhooks", preset: PresetName::StandardWebhooks, secrets: STANDARD },
    Signer { program: "sign.py", name: "StandardWebhooks", preset: PresetName::StandardWebhooks, secrets: STANDARD },
    Signer { program: "sign.mjs", name: "Asymmetric", preset: PresetName::StandardWebhooks, secrets: STANDARD },
    Signer { program: "sign.mjs", name: "Stripe", preset: PresetName::Stripe, secrets: ["whsec_one", "whsec_two"] },
    Signer { program: "sign.mjs", name: "Svix", preset: PresetName::Svix, secrets: STANDARD },
    Signer { program: "sign.mjs", name: "TwilioForm", preset: PresetName::Twilio, secrets: PLAIN },
    Signer { program: "sign.mjs", name: "TwilioJson", preset: PresetName::Twilio, secrets: PLAIN },
];
const REQUESTS: usize = 40;

/// The folder with the signers and their packages.
pub(crate) fn programs() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let files = [
            ("package.json", include_str!("../signers/package.json")),
            ("package-lock.json", include_str!("../signers/package-lock.json")),
            ("requirements.txt", include_str!("../signers/requirements.txt")),
            ("sign.mjs", include_str!("../signers/sign.mjs")),
            ("sign.py", include_str!("../signers/sign.py")),
            ("issuer.mjs", include_str!("../signers/issuer.mjs")),
        ];
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]);
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--no-deps", "--require-hashes", "--target", ".", "-r", "requirements.txt"]);
        testing::prepared("signers", &files, &mut [npm, pip]).expect("npm and pip install the signers")
    });
    &FOLDER
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_each_providers_library_signs_is_taken_and_a_flipped_bit_is_not() {
    for signer in &SIGNERS {
        check(signer).await;
    }
}

async fn check(signer: &Signer) {
    let now = Timestamp::now().as_second();
    let orders: Vec<Value> =
        (0..REQUESTS).map(|number| order(signer, number, now + fastrand::i64(-240..=280))).collect();
    let requests = sign(signer.program, &orders);
    let topic = topic(&connection(), &[]).await;
    let mut setup = Setup::new(connection(), &topic);
    setup.preset(signer.preset, &["current", "next"]);
    for (file, secret) in ["current", "next"].iter().zip(signer.secrets) {
        // A signer that makes its own key pair tells the public key.
        let told = requests[0].headers.get("secret").and_then(Value::as_str);
        fs::write(setup.secret(file), format!("{}\n", told.unwrap_or(secret))).unwrap();
    }
    let receiver = setup.ready().await;
    let senders = [Sender::to(receiver.endpoint), Sender::http2(receiver.endpoint)];

    for (number, request) in requests.iter().enumerate() {
        let sender = &senders[number % 2];
        for forged in [flip_body(request), flip_signature(request)] {
            assert_eq!(send(sender, PATH, &forged).await, 401, "{} {forged:?}", signer.name);
        }
        assert_eq!(send(sender, PATH, request).await, 202, "{} {request:?}", signer.name);
        assert_eq!(send(sender, PATH, request).await, 202, "{} {request:?}", signer.name);
    }
    let written = records(&connection(), &topic).await;
    let ids: Vec<_> = written.iter().map(|record| record.header("ce_id").unwrap()).collect();
    assert_eq!(ids, requests.iter().map(|request| request.id.as_str()).collect::<Vec<_>>(), "{}", signer.name);
    let as_sent = written.iter().zip(&requests).all(|(record, request)| record.value == request.body.as_bytes());
    assert!(as_sent, "{}: a body was changed", signer.name);

    let has_time = !matches!(signer.preset, PresetName::GitHub | PresetName::Shopify | PresetName::Twilio);
    // A signer with a key pair of its own makes another one each time.
    for seconds in [-310, 360].into_iter().filter(|_| signer.name != "Asymmetric") {
        let time = Timestamp::now().as_second() + seconds;
        let [late] = sign(signer.program, &[order(signer, 0, time)]).try_into().unwrap();
        assert_eq!(
            send(&senders[0], PATH, &late).await,
            if has_time { 401 } else { 202 },
            "{} {seconds} s",
            signer.name
        );
    }
}

/// What a signer is asked for: any text, any id.
fn order(signer: &Signer, number: usize, time: i64) -> Value {
    let id = fresh_id();
    let text: String = (0..fastrand::usize(..200)).map(|_| fastrand::char(..)).collect();
    let body = if signer.name == "TwilioForm" {
        let escaped: String = text.bytes().flat_map(|byte| ["%".to_owned(), hex::encode_upper([byte])]).collect();
        format!("To=%2B15550199&Body={escaped}&MediaUrl=b&MediaUrl=a&MediaUrl=a&Empty=&From=a+b%20c")
    } else {
        json!({"event_id": id, "id": id, "text": text}).to_string()
    };
    let secret = signer.secrets[number % 2];
    json!({"signer": signer.name, "secret": secret, "id": id, "time": time, "url": URL, "body": body})
}

/// The requests that a program signs.
pub(crate) fn sign(program: &str, orders: &[Value]) -> Vec<Sent> {
    let interpreter = if program == "sign.py" { "python3" } else { "node" };
    let mut child = Command::new(interpreter)
        .arg(program)
        .current_dir(programs())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(orders).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    let signatures: Vec<Map<String, Value>> = serde_json::from_slice(&output.stdout).unwrap();
    let sent = |(order, mut headers): (&Value, Map<String, Value>)| Sent {
        id: order["id"].as_str().unwrap().to_owned(),
        query: headers.remove("query").map(|query| query.as_str().unwrap().to_owned()),
        body: order["body"].as_str().unwrap().to_owned(),
        headers,
    };
    orders.iter().zip(signatures).map(sent).collect()
}

/// What a request to this path is answered.
pub(crate) async fn send(sender: &Sender, path: &str, request: &Sent) -> u16 {
    let query = request.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let mut builder = sender.request(Method::POST, &format!("{path}{query}"));
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "secret") {
        builder = builder.header(name, value.as_str().unwrap());
    }
    sender.send(builder.body(full(request.body.clone())).unwrap()).await.unwrap().status
}

pub(crate) fn flip_body(request: &Sent) -> Sent {
    let mut body = request.body.clone().into_bytes();
    // The names of the first field, so that the body stays what it was: text, or a form.
    body[fastrand::usize(..2)] ^= 1;
    Sent { body: String::from_utf8(body).unwrap(), ..request.clone() }
}

fn flip_signature(request: &Sent) -> Sent {
    let mut forged = request.clone();
    let is_signature = |name: &String| name.contains("signature") || name.contains("hmac");
    let (_, value) = forged.headers.iter_mut().find(|(name, _)| is_signature(name)).unwrap();
    *value = json!(flip(value.as_str().unwrap()));
    forged
}

/// A signature with another digit, behind the names of scheme and version, before the padding.
pub(crate) fn flip(text: &str) -> String {
    let at = text.len() - 1 - fastrand::usize(4..20);
    let flipped = if text.as_bytes()[at] == b'0' { '1' } else { '0' };
    format!("{}{flipped}{}", &text[..at], &text[at + 1..])
}
