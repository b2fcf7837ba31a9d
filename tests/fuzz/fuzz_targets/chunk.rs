//! Any bytes, as a chunk of messages of another node: nothing panics, and what is accepted is written again as the same
//! messages.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rookery_fuzz::chunk::{ChunkReader, ChunkWriter, Frame, VERSION};
use rookery_fuzz::domain::principal::SpaceId;
use rookery_fuzz::mqtt::qos::QoS;

fuzz_target!(|input: &[u8]| {
    let mut chunk = vec![VERSION];
    chunk.extend_from_slice(input);
    let _ = read(input);
    let Some(topics_and_messages) = read(&chunk) else { return };
    let mut writer = ChunkWriter::default();
    let (topics, messages) = &topics_and_messages;
    for (number, (space, topic)) in topics.iter().enumerate() {
        assert!(writer.has_room_for_topic());
        assert_eq!(usize::from(writer.topic(space, topic)), number);
    }
    for (topic, qos, payload) in messages {
        writer.message(*topic, *qos, payload);
    }
    if !writer.is_empty() {
        assert_eq!(read(&writer.take()), Some(topics_and_messages));
    }
});

type Topics = Vec<(SpaceId, String)>;
type Messages = Vec<(u16, QoS, Vec<u8>)>;

fn read(chunk: &[u8]) -> Option<(Topics, Messages)> {
    let (mut space, mut topics, mut messages) = (None, Topics::new(), Messages::new());
    for frame in ChunkReader::new(chunk).ok()? {
        match frame.ok()? {
            Frame::Space(id) => space = Some(id),
            Frame::Topic(topic) => topics.push((space.clone().expect("its space came before"), topic.to_owned())),
            Frame::Message { topic, qos, payload } => {
                assert!(usize::from(topic) < topics.len());
                messages.push((topic, qos, payload.to_vec()));
            }
        }
    }
    Some((topics, messages))
}
