//! A client over a stream in memory that does as little as a client can: it counts bytes instead of decoding packets.

use anyhow::ensure;
use rookery::mqtt::client_side::{encode_connect, encode_publish, encode_subscribe};
use rookery::mqtt::packet::acknowledge::encode_puback;
use rookery::mqtt::packet::connect::ConnectRef;
use rookery::mqtt::packet::publish::PublishRef;
use rookery::mqtt::packet::subscribe::SubscribeRequest;
use rookery::mqtt::qos::{PacketIdentifier, QoS};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// Payload of every message.
pub const PAYLOAD: [u8; 256] = [7; 256];

/// Bytes of a PUBACK.
const PUBACK_BYTES: usize = 4;

/// A connected client.
pub struct Client {
    stream: DuplexStream,
    buffer: Vec<u8>,
    /// The packet identifier of the next message that it acknowledges.
    next_identifier: u16,
}

impl Client {
    /// Logs in over `stream`.
    pub async fn connect(stream: DuplexStream) -> anyhow::Result<Self> {
        let mut client = Self { stream, buffer: vec![0; 256 * 1024], next_identifier: 1 };
        let connect = ConnectRef {
            protocol_level: 4,
            clean_session: true,
            keep_alive_s: 0,
            client_id: "",
            will: None,
            username: None,
            password: None,
        };
        let mut packet = Vec::new();
        encode_connect(&mut packet, &connect)?;
        client.send(&packet).await?;
        let answer = client.receive(4).await?;
        ensure!(answer == [0x20, 2, 0, 0], "CONNACK 0 was expected, not {answer:?}");
        Ok(client)
    }

    /// Subscribes and waits for the SUBACK.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> anyhow::Result<()> {
        let mut packet = Vec::new();
        encode_subscribe(&mut packet, PacketIdentifier::FIRST, [SubscribeRequest { filter, qos }])?;
        self.send(&packet).await?;
        let answer = self.receive(5).await?;
        ensure!(answer == [0x90, 3, 0, 1, qos.bits()], "SUBACK was expected, not {answer:?}");
        Ok(())
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Receives so many bytes.
    pub async fn receive(&mut self, bytes: usize) -> anyhow::Result<&[u8]> {
        let part = &mut self.buffer[..bytes];
        self.stream.read_exact(part).await?;
        Ok(part)
    }

    /// Receives the PUBACKs of `count` messages.
    pub async fn receive_pubacks(&mut self, count: usize) -> anyhow::Result<()> {
        let first = self.receive(count * PUBACK_BYTES).await?[0];
        ensure!(first == 0x40, "PUBACK was expected, not {first:#x}");
        Ok(())
    }

    /// Receives `count` messages of QoS 1 and acknowledges them; those before must have been acknowledged.
    pub async fn receive_and_acknowledge(&mut self, topic: &str, count: usize) -> anyhow::Result<()> {
        let first = self.receive(count * publish(topic, QoS::AtLeastOnce, 1)?.len()).await?[0];
        ensure!(first == 0x32, "PUBLISH was expected, not {first:#x}");
        let mut pubacks = Vec::with_capacity(count * PUBACK_BYTES);
        for _ in 0..count {
            let identifier = PacketIdentifier::new(self.next_identifier).expect("it counts from 1");
            encode_puback(&mut pubacks, identifier);
            self.next_identifier = self.next_identifier.checked_add(1).unwrap_or(1);
        }
        self.send(&pubacks).await
    }
}

/// So many PUBLISH packets, one after the other, with packet identifiers from 1.
pub fn publish(topic: &str, qos: QoS, count: u16) -> anyhow::Result<Vec<u8>> {
    let mut packets = Vec::new();
    for number in 1..=count {
        let packet_identifier =
            if qos.has_packet_identifier() { PacketIdentifier::new(number) } else { None };
        let publish =
            PublishRef { topic, payload: &PAYLOAD, qos, retain: false, dup: false, packet_identifier };
        encode_publish(&mut packets, &publish)?;
    }
    Ok(packets)
}
