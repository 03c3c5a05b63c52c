//! Joining on a scripted broker and a clock that stands still: who goes together, and who gets which answer.
#![allow(clippy::disallowed_methods, reason = "the clock stands still: a sleep is a moment of the script")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::future::join_all;
use proptest::{collection::vec, option, prelude::*};
use tokio::{runtime, time};

use super::*;
use crate::{Error, PerTopic, batching::backlog::Repeats};

/// A request that can be told from others about the same topic.
#[derive(Clone, Debug)]
struct Ask<const SHARED: bool, const PATIENCE: usize = 1> {
    topic: String,
    number: usize,
    records: usize,
}

/// A broker that answers each request with its number, after a while, and remembers what it was asked.
#[derive(Clone, Default)]
struct Script {
    takes: Duration,
    refuses: Option<&'static str>,
    is_down: bool,
    batches: Arc<Mutex<Vec<Asked>>>,
}

/// A batch: topics and the numbers of the requests.
type Asked = Vec<(String, usize)>;

impl<const SHARED: bool, const PATIENCE: usize> Request for Ask<SHARED, PATIENCE> {
    type Backend = Script;
    type Answer = usize;
    const REPEATS: Repeats = if SHARED { Repeats::Share } else { Repeats::Wait };
    const PATIENCE: usize = PATIENCE;

    fn topic(&self) -> &str {
        &self.topic
    }

    fn records(&self) -> usize {
        self.records
    }

    async fn ask(script: &Script, batch: Vec<Self>) -> Result<PerTopic<usize>, Error> {
        let asked = batch.iter().map(|ask| (ask.topic.clone(), ask.number)).collect();
        script.batches.lock().unwrap().push(asked);
        time::sleep(script.takes).await;
        if script.is_down {
            return Err(Error::Settings("down".into()));
        }
        let answer = |ask: &Self| match script.refuses {
            Some(topic) if topic == ask.topic => Err(KafkaError::local(ErrorCode::INVALID_CONFIG, "refused")),
            _ => Ok(ask.number),
        };
        Ok(batch.iter().map(|ask| (ask.topic.clone(), answer(ask))).collect())
    }
}

impl Script {
    fn batches(&self) -> Vec<Asked> {
        self.batches.lock().unwrap().clone()
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches().iter().map(Vec::len).collect()
    }
}

const LINGER: Duration = Duration::from_millis(5);

fn joiner<const SHARED: bool>(script: &Script, max_topics: usize) -> Joiner<Ask<SHARED>> {
    joiner_in(&Company::default(), script, max_topics)
}

fn joiner_in<const SHARED: bool>(company: &Company, script: &Script, max_topics: usize) -> Joiner<Ask<SHARED>> {
    Joiner::start(Batching { max_topics, linger: LINGER }, company.clone(), script.clone())
}

fn ask<const SHARED: bool>(topic: &str, number: usize) -> Ask<SHARED> {
    Ask { topic: topic.to_owned(), number, records: 1 }
}

fn change(topic: &str, number: usize) -> Ask<false> {
    ask(topic, number)
}

#[tokio::test(start_paused = true)]
async fn those_that_ask_at_the_same_time_share_requests() {
    let script = Script::default();
    let joiner = joiner(&script, 100);
    let topics: Vec<_> = (0..1000).map(|number| format!("topic-{number}")).collect();
    let answers = join_all(topics.iter().enumerate().map(|(number, topic)| joiner.ask(change(topic, number)))).await;
    let numbers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(numbers, (0..1000).collect::<Vec<_>>());
    assert_eq!(script.sizes(), [100; 10]);
}

#[tokio::test(start_paused = true)]
async fn one_that_asks_alone_waits_for_the_linger_and_no_longer() {
    let (script, start) = (Script::default(), Instant::now());
    let joiner = joiner(&script, 100);
    joiner.ask(change("orders", 1)).await.unwrap();
    assert!(start.elapsed() <= LINGER + Duration::from_millis(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_comes_slowly_by_nature_is_waited_for_longer() {
    let script = Script::default();
    let joiner = Joiner::<Ask<false, 4>>::start(
        Batching { max_topics: 100, linger: LINGER },
        Company::default(),
        script.clone(),
    );
    let joiner = &joiner;
    let at = async |millis: u64| {
        time::sleep(Duration::from_millis(millis)).await;
        joiner.ask(Ask { topic: format!("topic-{millis}"), number: 0, records: 1 }).await.unwrap();
    };
    join_all([0, 15, 30, 45, 75].map(at)).await;
    assert_eq!(script.sizes(), [4, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_grows_while_others_come_along_but_not_for_ever() {
    let script = Script::default();
    let joiner = joiner(&script, 100);
    let later = async |number: u64| {
        time::sleep(Duration::from_millis(4 * number)).await;
        joiner.ask(change(&format!("topic-{number}"), 0)).await
    };
    join_all((0..60).map(later)).await;
    // 200 ms of the 240.
    assert_eq!(script.sizes(), [51, 9]);
}

#[tokio::test(start_paused = true)]
async fn where_many_came_more_are_waited_for_until_they_have_gone() {
    let script = Script::default();
    let joiner = joiner(&script, 1000);
    let at = async |millis: u64| {
        time::sleep(Duration::from_millis(millis)).await;
        let asked = Instant::now();
        joiner.ask(change(&format!("topic-{millis}"), 0)).await.unwrap();
        asked.elapsed()
    };
    // Seldom enough that each would be alone, after ten that come together.
    let crowd = (0..10).chain((1..=20).map(|number| number * 30));
    join_all(crowd.map(at)).await;
    assert_eq!(script.sizes(), [10, 20]);
    let waited = at(2000).await;
    assert!(waited <= LINGER + Duration::from_millis(1), "{waited:?}");
}

/// How long each of these waits for its answer: it is there from the first of its moments on, in milliseconds, and asks at the second.
async fn waits(script: &Script, moments: impl IntoIterator<Item = (u64, u64)>) -> Vec<Duration> {
    let company = Company::default();
    let joiner = joiner_in(&company, script, 1000);
    let ask = async |(number, (here, asks)): (usize, (u64, u64))| {
        let start = Instant::now();
        sleep_until(start + Duration::from_millis(here)).await;
        let _present = company.join();
        sleep_until(start + Duration::from_millis(asks)).await;
        let asked = Instant::now();
        joiner.ask(change(&format!("topic-{number}"), 0)).await.unwrap();
        asked.elapsed()
    };
    join_all(moments.into_iter().enumerate().map(ask)).await
}

#[tokio::test(start_paused = true)]
async fn who_is_about_to_come_is_waited_for() {
    // An API server gives out one in 20 ms, and each has something else to do there for 200 ms.
    let script = Script::default();
    let waited = waits(&script, (0..300).map(|number| (number * 20, number * 20 + 200))).await;
    let sizes = script.sizes();
    assert!(sizes.len() <= 6, "{sizes:?}");
    assert!(waited.iter().max() <= Some(&Duration::from_millis(2510)), "{waited:?}");
    assert!(waited.last() <= Some(&Duration::from_millis(52)), "nobody comes after the last one: {waited:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_more_where_all_have_asked() {
    let script = Script::default();
    let waited = waits(&script, (0..100).map(|number| (0, number))).await;
    assert_eq!(script.sizes(), [100]);
    assert!(waited.last() <= Some(&(LINGER + Duration::from_millis(2))), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn one_who_never_asks_holds_up_another_for_some_lingers_only() {
    let script = Script::default();
    let waited = waits(&script, [(0, 1000), (0, 0)]).await;
    assert!(waited[1] <= LINGER * 6 + Duration::from_millis(2), "{waited:?}");
    assert_eq!(script.sizes(), [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_another_answer_are_not_waited_for() {
    let company = Company::default();
    let slow = Script { takes: Duration::from_secs(1), ..Script::default() };
    let (slow, quick) = (joiner_in(&company, &slow, 100), joiner_in(&company, &Script::default(), 100));
    let [_one, _other] = [company.join(), company.join()];
    let start = Instant::now();
    let (_, quickly) = futures::join!(slow.ask(change("orders", 1)), async {
        quick.ask(change("orders", 2)).await.unwrap();
        start.elapsed()
    });
    assert!(quickly <= LINGER * 2, "{quickly:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_while_a_batch_is_on_its_way_goes_together_into_the_next() {
    let script = Script { takes: Duration::from_millis(100), ..Script::default() };
    let joiner = joiner(&script, 100);
    let later = async |number: u64| {
        time::sleep(Duration::from_millis(9 * number)).await;
        joiner.ask(change(&format!("topic-{number}"), 0)).await
    };
    join_all((0..10).map(later)).await;
    assert_eq!(script.sizes(), [1, 9]);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_asked_once_for_all_who_ask_it_and_a_change_is_made_as_often_as_it_is_asked_for() {
    let script = Script::default();
    let questions = joiner::<true>(&script, 100);
    let answers = futures::join!(questions.ask(ask("orders", 1)), questions.ask(ask("orders", 2)));
    assert_eq!((answers.0.unwrap(), answers.1.unwrap()), (1, 1));
    assert_eq!(script.sizes(), [1]);

    let changes = joiner::<false>(&script, 100);
    let answers = futures::join!(changes.ask(ask("orders", 1)), changes.ask(ask("orders", 2)));
    assert_eq!((answers.0.unwrap(), answers.1.unwrap()), (1, 2));
    assert_eq!(script.sizes(), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_one_is_its_own_error_and_what_is_wrong_with_all_is_everybodys() {
    let script = Script { refuses: Some("bad"), ..Script::default() };
    let refusing = joiner(&script, 100);
    let (good, bad) = futures::join!(refusing.ask(change("good", 1)), refusing.ask(change("bad", 2)));
    assert_eq!(good.unwrap(), 1);
    assert!(matches!(bad, Err(TopicError::Topic(error)) if error.code == ErrorCode::INVALID_CONFIG));

    let down = joiner(&Script { is_down: true, ..Script::default() }, 100);
    let (one, other) = futures::join!(down.ask(change("a", 1)), down.ask(change("b", 2)));
    for answer in [one, other] {
        assert!(matches!(answer, Err(TopicError::Request(Error::Settings(_)))), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_it_was_sent_is_not_carried_out() {
    let script = Script::default();
    let joiner = joiner(&script, 100);
    {
        let mut dropped = Box::pin(joiner.ask(change("dropped", 1)));
        assert!(futures::poll!(&mut dropped).is_pending());
    }
    joiner.ask(change("kept", 2)).await.unwrap();
    assert_eq!(script.batches(), [[("kept".to_owned(), 2)]]);
}

#[tokio::test(start_paused = true)]
async fn more_than_kafka_takes_in_one_request_is_asked_in_several() {
    let script = Script::default();
    let joiner = joiner::<false>(&script, 100);
    let large = |topic: &str| Ask { records: 6000, ..ask(topic, 0) };
    let asked = ["a", "b", "c"].map(|topic| joiner.ask(large(topic)));
    assert!(join_all(asked).await.iter().all(Result::is_ok));
    assert_eq!(script.sizes(), [1, 1, 1]);
}

/// When somebody asks about which topic, and when he loses interest.
#[derive(Clone, Debug)]
struct Caller {
    at: u64,
    topic: usize,
    patience: Option<u64>,
}

prop_compose! {
    fn caller()(at in 0..60_u64, topic in 0..6_usize, patience in option::weighted(0.3, 0..40_u64)) -> Caller {
        Caller { at, topic, patience }
    }
}

proptest! {
    #[test]
    fn everybody_who_waits_gets_his_own_answer(
        callers in vec(caller(), 0..40),
        max_topics in 1..8_usize,
        takes in 0..30_u64,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let script = Script { takes: Duration::from_millis(takes), ..Script::default() };
        let answers = runtime.block_on(async {
            let joiner = joiner::<false>(&script, max_topics);
            let call = async |(number, caller): (usize, &Caller)| {
                time::sleep(Duration::from_millis(caller.at)).await;
                let answer = joiner.ask(ask(&caller.topic.to_string(), number));
                let patience = caller.patience.map_or(Duration::from_hours(1), Duration::from_millis);
                time::timeout(patience, answer).await.ok().map(Result::unwrap)
            };
            join_all(callers.iter().enumerate().map(call)).await
        });

        for (number, (answer, caller)) in answers.iter().zip(&callers).enumerate() {
            prop_assert!(*answer == Some(number) || (answer.is_none() && caller.patience.is_some()), "{:?}", answers);
        }
        let mut order: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut sent = BTreeSet::new();
        for batch in script.batches() {
            prop_assert!((1..=max_topics).contains(&batch.len()), "{:?}", batch);
            let topics: BTreeSet<_> = batch.iter().map(|(topic, _)| topic).collect();
            prop_assert_eq!(topics.len(), batch.len(), "a batch repeats a topic: {:?}", batch);
            for (topic, number) in batch {
                prop_assert!(sent.insert(number), "{} was sent twice", number);
                order.entry(topic).or_default().push(callers[number].at);
            }
        }
        for times in order.values() {
            prop_assert!(times.is_sorted(), "a topic's requests were overtaken: {:?}", order);
        }
    }
}
