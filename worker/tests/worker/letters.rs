//! Dead letters as tools for Kafka Connect and for Spring read them: their headers are called as these projects' own classes call them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use sluice_cluster::testing;
use sluice_crds::{HeaderStyle, wire::WorkerConfig};
use sluice_kafka::OutgoingRecord;

use crate::{
    api::{Api, status},
    kafka::Place,
    running::{Worker, config, map},
};

/// Prints an entry of an archive.
const ENTRY: &str = "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))";
/// When the records were written.
const WRITTEN: i64 = 1_795_478_400_123;

/// Names and values, in order.
type Headers = Vec<(String, Vec<u8>)>;

/// A class of the one jar in this folder whose name begins so.
fn class(folder: &Path, jar: &str, name: &str) -> Vec<u8> {
    let mut jars = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let jar = jars.find(|entry| entry.file_name().to_string_lossy().starts_with(jar)).unwrap().path();
    let entry = format!("{}.class", name.replace('.', "/"));
    let read = Command::new("python3").args(["-c", ENTRY]).arg(jar).arg(entry).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    read.stdout
}

/// The texts among the constants of a class that begin so: each stands behind a 1 and its length (JVMS, section 4.4.7).
fn constants(class: &[u8], prefix: &str) -> BTreeSet<String> {
    let begins = class.windows(3 + prefix.len()).enumerate();
    let found = begins.filter(|(_, window)| window[0] == 1 && &window[3..] == prefix.as_bytes());
    let text = |(at, window): (usize, &[u8])| {
        let length = usize::from(u16::from_be_bytes([window[1], window[2]]));
        String::from_utf8(class[at + 3..at + 3 + length].to_vec()).unwrap()
    };
    found.map(text).collect()
}

/// The dead letters of a record that cannot be decoded, one that a step fails on and one that is refused: each with the headers that it
/// has beside those of its record.
async fn letters(style: HeaderStyle) -> (Place, Vec<Headers>) {
    let (place, api) = (Place::new("styled", 3).await, Api::scripted(|_| status(422)).await);
    let steps = vec![map("amount", ".amount = int!(.amount)")];
    let config = WorkerConfig { dead_letter_headers: style, steps, ..config(&place, &api.url) };
    let _worker = Worker::start(&config);
    let records = ["{", r#"{"n": 1}"#, r#"{"n": 2, "amount": 2}"#].map(|value| OutgoingRecord {
        partition: Some(2),
        key: Some("key".into()),
        headers: vec![Place::header("tenant", "shop")],
        timestamp: Some(WRITTEN),
        ..OutgoingRecord::new(place.topic.as_str(), value)
    });
    place.write_records(records).await;
    let letters = place.dead_letters(3).await.into_iter().map(|letter| {
        let mut headers = letter.headers.into_iter().map(|(name, value)| (name, value.unwrap()));
        assert_eq!(headers.next(), Some(("tenant".to_owned(), b"shop".to_vec())));
        headers.collect::<Headers>()
    });
    let letters = letters.collect();
    place.until_no_lag().await;
    (place, letters)
}

fn names(letter: &[(String, Vec<u8>)]) -> BTreeSet<String> {
    letter.iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn tools_for_kafka_connect_find_all_headers_that_it_writes() {
    const REPORTER: &str = "org.apache.kafka.connect.runtime.errors.DeadLetterQueueReporter";
    const PREFIX: &str = "__connect.errors.";
    let jars = testing::kafka_jars().unwrap();
    let mut written_by_connect = constants(&class(&jars, "connect-runtime-", REPORTER), PREFIX);
    assert!(written_by_connect.remove(PREFIX), "{written_by_connect:?}");
    let stages = class(&jars, "connect-runtime-", "org.apache.kafka.connect.runtime.errors.Stage");

    let (place, letters) = letters(HeaderStyle::KafkaConnect).await;
    let expected = [
        ("0", "VALUE_CONVERTER", "decode", "sluice.DataError"),
        ("1", "TRANSFORMATION", "amount", "sluice.DataError"),
        ("2", "TASK_PUT", "http", "sluice.DeliveryError"),
    ];
    for (letter, (offset, stage, class, exception)) in letters.into_iter().zip(expected) {
        assert_eq!(names(&letter), written_by_connect);
        assert!(constants(&stages, stage).contains(stage), "{stage}");
        // Connect writes each value as a text.
        let texts = letter.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap()));
        let texts: BTreeMap<_, _> = texts.collect();
        let text = |name: &str| texts[&format!("{PREFIX}{name}")].as_str();
        assert_eq!([text("topic"), text("partition"), text("offset")], [place.topic.as_str(), "2", offset]);
        assert_eq!([text("connector.name"), text("task.id")], ["shop/payments-to-ledger", "0"]);
        assert_eq!([text("stage"), text("class.name"), text("exception.class.name")], [stage, class, exception]);
        let thrown = format!("{exception}: {}\n", text("exception.message"));
        assert_eq!(text("exception.stacktrace"), thrown);
    }
}

#[tokio::test]
async fn tools_for_spring_find_all_headers_that_it_writes_of_values() {
    const HEADERS: &str = "org.springframework.kafka.support.KafkaHeaders";
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--no-transfer-progress", "dependency:copy-dependencies", "-DoutputDirectory=."]);
    let files = [("pom.xml", include_str!("../foreign/spring-kafka.xml"))];
    let jars = testing::prepared("spring-kafka", &files, &mut [maven]).expect("Maven downloads Spring for Kafka");
    let mut written_by_spring = constants(&class(&jars, "spring-kafka-", HEADERS), "kafka_dlt-");
    // It tells errors of keys apart, which a worker does not decode.
    written_by_spring.retain(|name| !name.starts_with("kafka_dlt-key-exception-"));

    let (place, letters) = letters(HeaderStyle::Spring).await;
    let expected = [
        ("sluice.DataError", "sluice.InvalidJson"),
        ("sluice.DataError", "sluice.StepFailed"),
        ("sluice.DeliveryError", "sluice.422"),
    ];
    for ((offset, letter), (exception, cause)) in (0_i64..).zip(letters).zip(expected) {
        assert_eq!(names(&letter), written_by_spring);
        let headers: BTreeMap<_, _> = letter.into_iter().collect();
        let header = |name: &str| headers[&format!("kafka_dlt-{name}")].clone();
        let text = |name: &str| String::from_utf8(header(name)).unwrap();
        assert_eq!(text("original-topic"), place.topic);
        // Spring writes numbers as Java's ByteBuffer puts them.
        assert_eq!(header("original-partition"), 2_i32.to_be_bytes());
        assert_eq!(header("original-offset"), offset.to_be_bytes());
        assert_eq!(header("original-timestamp"), WRITTEN.to_be_bytes());
        assert_eq!(text("original-timestamp-type"), "CreateTime");
        assert_eq!(text("original-consumer-group"), place.group);
        assert_eq!([text("exception-fqcn"), text("exception-cause-fqcn")], [exception, cause]);
        assert_eq!(text("exception-stacktrace"), format!("{exception}: {}\n", text("exception-message")));
    }
}
