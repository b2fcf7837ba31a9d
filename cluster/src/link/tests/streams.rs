//! Links over a good network.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rookery_proto::rookery::cluster::v1::link_client::LinkClient;
use rookery_proto::rookery::cluster::v1::{AskRequest, DeliverRequest, LinkOpening};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::fixture::{TestNode, channels, pair, until};
use crate::link::LinkStatistics;
use crate::link::queue::CREDIT_BYTES;

fn numbered(range: std::ops::Range<u32>) -> Vec<Bytes> {
    range.map(|number| Bytes::copy_from_slice(&number.to_be_bytes())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_arrive_in_order_both_ways_and_are_acknowledged() {
    let (one, two) = pair().await;
    for chunk in numbered(0..1000) {
        one.send(2, chunk.clone());
        two.send(1, chunk);
    }
    until("everything is acknowledged", || one.acknowledged(2) == 1000 && two.acknowledged(1) == 1000).await;
    assert_eq!(two.delivered(1, 11), numbered(0..1000));
    assert_eq!(one.delivered(2, 12), numbered(0..1000));
    assert_eq!(one.links.load(2).backlog_bytes, 0);
    let statistics = one.links.statistics();
    assert_eq!((statistics[0].chunks_sent, statistics[0].chunks_received), (1000, 1000));
    assert_eq!((statistics[0].bytes_sent, statistics[0].chunks_resent), (4000, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_reported_both_ways_without_any_delivery() {
    let (one, two) = pair().await;
    let passed = Arc::new(AtomicBool::new(false));
    let pass = Arc::clone(&passed);
    one.barrier.wait(40, move || pass.store(true, Ordering::Relaxed));
    one.barrier.report(1, 40);
    two.effects.applied(39);
    until("node 1 waits", || one.barrier.waiting() == 1).await;
    assert!(!passed.load(Ordering::Relaxed));
    two.effects.applied(40);
    until("the barrier lets pass", || passed.load(Ordering::Relaxed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_restarts_gets_nothing_of_its_former_epoch() {
    let (one, two) = pair().await;
    two.stalls();
    one.send(2, "first");
    until("it arrives", || !two.delivered(1, 11).is_empty()).await;
    drop(two);
    for chunk in numbered(0..10) {
        one.send(2, chunk);
    }
    let again = TestNode::start(2);
    again.knows(1, one.address);
    one.knows(2, again.address);
    for node in [&one, &again] {
        node.applies(&[(1, 11), (2, 20)]);
    }
    assert_eq!(one.recorder.told.lock().ended, [2]);
    assert_eq!(one.links.load(2).backlog_bytes, 0);
    let sequence = one.send(2, "second");
    assert_eq!(sequence, 12, "sequences go on");
    until("it is acknowledged", || one.acknowledged(2) == sequence).await;
    assert_eq!(again.delivered(1, 11), ["second"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_given_up_gets_nothing_until_it_registers_again() {
    let (one, two) = pair().await;
    one.send(2, "before");
    until("it is acknowledged", || one.acknowledged(2) == 1).await;
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 0)]);
    }
    assert_eq!(one.links.send(2, Bytes::from_static(b"between")), None);
    assert_eq!(two.links.send(1, Bytes::from_static(b"between")), None, "node 2 has no epoch");
    assert_eq!((&*one.recorder.told.lock().ended, &*two.recorder.told.lock().ended), (&[2][..], &[1][..]));
    // Both still find out whether they reach each other, for it may register again only when they do.
    until("they reach each other", || two.is_connected(1) && one.is_connected(2)).await;
    assert!(two.links.unreachable().is_empty() && one.links.unreachable().is_empty());
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 30)]);
    }
    one.send(2, "after");
    two.send(1, "after");
    until("they arrive", || !one.delivered(2, 30).is_empty() && two.delivered(1, 11).len() == 2).await;
    assert_eq!(two.delivered(1, 11), ["before", "after"]);
    assert_eq!(one.delivered(2, 12), Vec::<Bytes>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_no_more_than_the_credit() {
    let (one, two) = pair().await;
    two.stalls();
    let chunk = Bytes::from(vec![1; 128 * 1024]);
    let count = 2 * CREDIT_BYTES / chunk.len();
    for _ in 0..count {
        one.send(2, chunk.clone());
    }
    until("the first is being delivered", || two.delivered(1, 11).len() == 1).await;
    assert_eq!(one.links.load(2).backlog_bytes, 2 * CREDIT_BYTES);
    assert_eq!(one.acknowledged(2), 0);
    for taken in 1..=count as u64 {
        two.recorder.gate.add_permits(1);
        until("one more is acknowledged", || one.acknowledged(2) == taken).await;
        assert!(two.delivered(1, 11).len() as u64 <= taken + 1, "one after the other");
        let LinkStatistics { chunks_sent, load, .. } = one.links.statistics()[0];
        let on_wire = (chunks_sent - taken) as usize * chunk.len();
        assert!(on_wire <= CREDIT_BYTES, "{on_wire} bytes on the wire");
        assert_eq!(load.backlog_bytes, (count - taken as usize) * chunk.len());
    }
}

/// Dials `node` as another one.
fn dial(node: &TestNode, from: u8) -> LinkClient<Channel> {
    let channels = channels(from);
    channels.set_addresses(BTreeMap::from([(node.id, node.address.to_string())]));
    LinkClient::new(channels.fresh_channel(node.id).unwrap())
}

fn opening(sender_epoch: u64, receiver_epoch: u64, first_sequence: u64) -> DeliverRequest {
    let opening = LinkOpening { sender_epoch, receiver_epoch, format: 1, version: "1".to_owned() };
    DeliverRequest { opening: Some(opening), first_sequence, ..DeliverRequest::default() }
}

fn chunks(first_sequence: u64, chunks: &[&'static str]) -> DeliverRequest {
    let chunks = chunks.iter().map(|chunk| Bytes::from_static(chunk.as_bytes())).collect();
    DeliverRequest { first_sequence, chunks, ..DeliverRequest::default() }
}

type Answers = Streaming<rookery_proto::rookery::cluster::v1::DeliverResponse>;

async fn speak(client: &mut LinkClient<Channel>) -> (mpsc::UnboundedSender<DeliverRequest>, Answers) {
    let (sender, receiver) = mpsc::unbounded_channel::<DeliverRequest>();
    let requests = futures::stream::unfold(receiver, |mut receiver| async move {
        let request = receiver.recv().await?;
        Some((request, receiver))
    });
    let answers = client.deliver(requests).await.unwrap().into_inner();
    (sender, answers)
}

async fn accepted(answers: &mut Answers) -> Result<u64, Code> {
    loop {
        let answer = answers.message().await.map_err(|status| status.code())?;
        if let Some(accepted) = answer.expect("the stream goes on").accepted_sequence {
            return Ok(accepted);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_of_other_epochs_are_refused() {
    let two = TestNode::start(2);
    two.applies(&[(1, 11), (2, 12)]);
    let mut client = dial(&two, 1);
    for (sender_epoch, receiver_epoch, code) in [
        (10, 12, Code::FailedPrecondition),
        (11, 11, Code::FailedPrecondition),
        (13, 12, Code::Unavailable),
        (11, 13, Code::Unavailable),
    ] {
        let (requests, mut answers) = speak(&mut client).await;
        requests.send(opening(sender_epoch, receiver_epoch, 1)).unwrap();
        assert_eq!(accepted(&mut answers).await, Err(code), "{sender_epoch} {receiver_epoch}");
    }
    let (requests, mut answers) = speak(&mut client).await;
    requests.send(chunks(1, &["no opening"])).unwrap();
    assert_eq!(accepted(&mut answers).await, Err(Code::InvalidArgument));
    let (requests, mut answers) = speak(&mut client).await;
    requests.send(opening(0, 12, 5)).unwrap();
    assert_eq!(accepted(&mut answers).await, Ok(4));
    requests.send(chunks(5, &["of a node without an epoch"])).unwrap();
    assert_eq!(accepted(&mut answers).await, Err(Code::FailedPrecondition));
    assert!(two.recorder.told.lock().delivered.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_waits_until_its_epoch_is_applied() {
    let two = TestNode::start(2);
    two.applies(&[(2, 12)]);
    let mut client = dial(&two, 1);
    let (requests, mut answers) = speak(&mut client).await;
    requests.send(opening(13, 12, 1)).unwrap();
    let answer = answers.message().await.unwrap().expect("the stream goes on");
    assert_eq!(answer.accepted_sequence, None, "a sign of life and no more");
    two.applies(&[(1, 13), (2, 12)]);
    assert_eq!(accepted(&mut answers).await, Ok(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_stream_goes_on_when_the_first_has_finished_its_delivery() {
    let two = TestNode::start(2);
    two.stalls();
    two.applies(&[(1, 11), (2, 12)]);
    let mut client = dial(&two, 1);
    let (requests, mut answers) = speak(&mut client).await;
    requests.send(opening(11, 12, 1)).unwrap();
    assert_eq!(accepted(&mut answers).await, Ok(0));
    requests.send(chunks(1, &["a", "b", "c"])).unwrap();
    until("the first is being delivered", || two.delivered(1, 11).len() == 1).await;
    let mut client = dial(&two, 1);
    let (second, mut second_answers) = speak(&mut client).await;
    second.send(opening(11, 12, 1)).unwrap();
    let answer = second_answers.message().await.unwrap().expect("the stream goes on");
    assert_eq!(answer.accepted_sequence, None, "the first stream is not done");
    two.recorder.gate.add_permits(1);
    assert_eq!(accepted(&mut second_answers).await, Ok(1));
    let first = loop {
        match accepted(&mut answers).await {
            Ok(accepted) => assert_eq!(accepted, 1),
            Err(code) => break code,
        }
    };
    assert_eq!(first, Code::Aborted);
    two.recorder.gate.add_permits(10);
    second.send(chunks(1, &["a", "b", "c"])).unwrap();
    while accepted(&mut second_answers).await.unwrap() < 3 {}
    assert_eq!(two.delivered(1, 11), ["a", "b", "c"]);
    second.send(chunks(5, &["e"])).unwrap();
    assert_eq!(accepted(&mut second_answers).await, Err(Code::FailedPrecondition), "a gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_epoch_of_its_sender() {
    let two = TestNode::start(2);
    two.applies(&[(1, 11), (2, 12)]);
    let mut client = dial(&two, 1);
    let (requests, mut answers) = speak(&mut client).await;
    requests.send(opening(11, 12, 1)).unwrap();
    assert_eq!(accepted(&mut answers).await, Ok(0));
    two.applies(&[(2, 12)]);
    assert_eq!(accepted(&mut answers).await, Err(Code::FailedPrecondition));
    // Not necessarily read by anybody.
    let _ended = requests.send(chunks(1, &["late"]));
    assert!(two.recorder.told.lock().delivered.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_are_answered() {
    let two = TestNode::start(2);
    let mut client = dial(&two, 7);
    let answer = client.ask(AskRequest { question: Bytes::from_static(b"why") }).await.unwrap();
    assert_eq!(answer.into_inner().answer, "7 asks why");
}
