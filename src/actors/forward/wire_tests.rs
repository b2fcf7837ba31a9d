//! Chunks: what is written is read again, and nothing else is read.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};

use super::*;

/// A message as a sender has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    space: SpaceId,
    topic: String,
    qos: QoS,
    payload: Vec<u8>,
}

fn space() -> impl Strategy<Value = SpaceId> {
    prop_oneof![
        "[a-z0-9]{1,50}".prop_map(|id| SpaceId::Registry(RegistryId::new(id))),
        "[a-z0-9]{1,3}".prop_map(|id| SpaceId::Broker(BrokerId::new(id))),
    ]
}

/// Any topic at all, control characters included; few different ones, so that they come again.
fn sent() -> impl Strategy<Value = Sent> {
    let topic = prop_oneof!["[ab\r\n\0]{1,2}", "\\PC{1,40}", any::<String>()];
    (space(), topic, any::<bool>(), vec(any::<u8>(), 0..200)).prop_map(
        |(space, topic, acknowledged, payload)| {
            let qos = if acknowledged { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            Sent { space, topic, qos, payload }
        },
    )
}

fn write(messages: &[Sent]) -> Vec<u8> {
    let mut writer = ChunkWriter::default();
    let mut numbers = std::collections::HashMap::new();
    for message in messages {
        let key = (message.space.clone(), message.topic.clone());
        let number = *numbers.entry(key).or_insert_with(|| writer.topic(&message.space, &message.topic));
        writer.message(number, message.qos, &message.payload);
    }
    writer.take()
}

fn read(chunk: &[u8]) -> Result<Vec<Sent>, ChunkError> {
    let (mut space, mut topics, mut messages) = (None, Vec::new(), Vec::new());
    for frame in ChunkReader::new(chunk)? {
        match frame? {
            Frame::Space(id) => space = Some(id),
            Frame::Topic(topic) => {
                topics.push((space.clone().expect("no topic comes before its space"), topic.to_owned()));
            }
            Frame::Message { topic, qos, payload } => {
                let (space, topic) = topics[usize::from(topic)].clone();
                messages.push(Sent { space, topic, qos, payload: payload.to_vec() });
            }
        }
    }
    Ok(messages)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(messages in vec(sent(), 1..30)) {
        assert_eq!(read(&write(&messages)), Ok(messages));
    }

    #[test]
    fn any_bytes_are_a_chunk_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let mut with_version = vec![VERSION];
        with_version.extend(bytes);
        let _ = read(&with_version);
    }

    #[test]
    fn a_damaged_chunk_is_a_chunk_or_an_error(
        messages in vec(sent(), 1..10), at in any::<proptest::sample::Index>(), byte in any::<u8>()
    ) {
        let mut chunk = write(&messages);
        let at = at.index(chunk.len());
        chunk[at] = byte;
        let _ = read(&chunk);
        let _ = read(&chunk[..at]);
    }
}

#[test]
fn a38_control_characters_in_a_topic_end_nothing() {
    let message = |topic: &str, payload: &[u8]| Sent {
        space: SpaceId::Broker(BrokerId::new("b1")),
        topic: topic.to_owned(),
        qos: QoS::AtMostOnce,
        payload: payload.to_vec(),
    };
    let messages = [
        message("a\r\nMSG b 1\r\nx", b"\r\n\0\x04"),
        message("\0\u{2}\0\u{1}b", b""),
        message("\u{1}\u{2}\u{3}\u{4}", b"end"),
    ];
    assert_eq!(read(&write(&messages)), Ok(messages.to_vec()));
}

#[test]
fn a_space_and_a_topic_are_written_once_per_chunk() {
    let mut writer = ChunkWriter::default();
    let space = SpaceId::Registry(RegistryId::new("r1"));
    let (first, second) =
        (writer.topic(&space, "$devices/d1/events"), writer.topic(&space, "$devices/d2/events"));
    writer.message(first, QoS::AtLeastOnce, b"1");
    writer.message(second, QoS::AtMostOnce, b"2");
    writer.message(first, QoS::ExactlyOnce, b"3");
    let chunk = writer.take();
    assert_eq!(chunk.len(), 1 + (3 + 2) + 2 * (3 + 18) + 3 * (7 + 1));
    assert!(writer.is_empty());
    assert_eq!(writer.topic(&space, "$devices/d2/events"), 0, "the next chunk numbers anew");
    let frames: Result<Vec<_>, _> = ChunkReader::new(&chunk).expect("a version").collect();
    let frames = frames.expect("a chunk");
    assert_eq!(frames.len(), 6);
    assert_eq!(frames[5], Frame::Message { topic: 0, qos: QoS::AtLeastOnce, payload: b"3" });
}

#[test]
fn a_small_chunk_behind_a_large_one_does_not_keep_its_memory() {
    let mut writer = ChunkWriter::default();
    let number = writer.topic(&SpaceId::Broker(BrokerId::new("b1")), "a");
    writer.message(number, QoS::AtMostOnce, &[7; 60_000]);
    assert!(writer.take().len() > 60_000);
    let number = writer.topic(&SpaceId::Broker(BrokerId::new("b1")), "a");
    writer.message(number, QoS::AtMostOnce, b"x");
    let small = writer.take();
    assert!(small.capacity() <= 2 * small.len(), "{} bytes for {}", small.capacity(), small.len());
    assert!(writer.is_empty());
}

#[test]
fn every_rule_is_checked() {
    let chunk = |frames: &[u8]| [&[VERSION], frames].concat();
    let cases: [(Vec<u8>, ChunkError); 10] = [
        (vec![], ChunkError::Truncated),
        (vec![9], ChunkError::Version(9)),
        (chunk(&[7]), ChunkError::UnknownFrame(7)),
        (chunk(&[1, 3, 1, b'a']), ChunkError::UnknownSpaceKind(3)),
        (chunk(&[1, 1, 1, b'A']), ChunkError::SpaceId(IdError::BadCharacter { character: 'A' })),
        (chunk(&[2, 0, 1, b'a']), ChunkError::NoSpace),
        (chunk(&[1, 1, 1, b'a', 2, 0, 1, 0xff]), ChunkError::Text),
        (chunk(&[3, 0, 0, 0, 0, 0, 0]), ChunkError::UnknownTopic { number: 0, topics: 0 }),
        (
            chunk(&[1, 2, 1, b'a', 2, 0, 1, b't', 3, 0, 0, 0xff, 0xff, 0xff, 0xff]),
            ChunkError::PayloadTooLarge(0xffff_ffff),
        ),
        (chunk(&[1, 2, 1, b'a', 2, 0, 1, b't', 4, 0, 0, 0, 0, 0, 2, b'x']), ChunkError::Truncated),
    ];
    for (bytes, error) in cases {
        assert_eq!(read(&bytes), Err(error), "{bytes:?}");
    }
}
