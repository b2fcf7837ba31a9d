//! `rookery mqtt publish`.

use std::fs;
use std::io::{self, BufRead as _};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::connection::{KEEP_ALIVE_S, MqttSession, failed};
use crate::cli::arguments::ClientArguments;
use crate::cli::arguments::mqtt::PublishArguments;
use crate::cli::error::CliError;
use crate::mqtt::client_side::{ServerPacket, encode_pingreq, encode_publish};
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::topic::name::validate_topic_name;

/// Lines of standard input read ahead of what was published.
const LINES_AHEAD_MAX: usize = 16;

/// Half of the keep-alive, so that one ping may be late.
const PING_INTERVAL: Duration = Duration::from_secs(KEEP_ALIVE_S as u64 / 2);

/// Time in which the server must answer the ping behind the last message.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes the messages; with QoS 1 each is acknowledged before the next is sent. Succeeds only if the server was
/// still there after the last one: it closes the connection of who publishes where it may not.
pub async fn run(client: &ClientArguments, arguments: &PublishArguments) -> Result<(), CliError> {
    validate_topic_name(&arguments.topic).map_err(|error| CliError::Argument {
        flag: "--topic",
        rule: error.to_string(),
        value: arguments.topic.clone(),
    })?;
    let session = MqttSession::open(client, &arguments.connection).await?;
    let mut publisher = Publisher::new(session, &arguments.topic, arguments.qos);
    if arguments.source.stdin {
        publisher.publish_lines(lines_of_stdin(), PING_INTERVAL).await?;
    } else if let Some(path) = &arguments.source.file {
        publisher.publish(&fs::read(path).map_err(CliError::reading(path))?).await?;
    } else {
        publisher.publish(arguments.source.message.as_deref().unwrap_or_default().as_bytes()).await?;
    }
    publisher.confirm().await?;
    publisher.session.close().await
}

type Lines = mpsc::Receiver<io::Result<Vec<u8>>>;

/// The lines of standard input, read by a thread of its own: reading blocks, and the session must be kept alive.
fn lines_of_stdin() -> Lines {
    let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

struct Publisher<'a> {
    session: MqttSession,
    topic: &'a str,
    qos: QoS,
    packet_identifier: PacketIdentifier,
    /// Pings that the server has not answered yet.
    pings: u32,
}

impl<'a> Publisher<'a> {
    fn new(session: MqttSession, topic: &'a str, qos: QoS) -> Self {
        Self { session, topic, qos, packet_identifier: PacketIdentifier::FIRST, pings: 0 }
    }

    /// One message per line. Keeps the session alive and notices its end while no line comes.
    async fn publish_lines(&mut self, mut lines: Lines, ping_interval: Duration) -> Result<(), CliError> {
        let mut tick = interval(ping_interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await;
        loop {
            tokio::select! {
                line = lines.recv() => {
                    let Some(line) = line else { return Ok(()) };
                    let line =
                        line.map_err(|error| CliError::Stream { stream: "standard input", error })?;
                    self.publish(line.strip_suffix(b"\r").unwrap_or(&line)).await?;
                }
                received = self.session.receive(|packet| Received::from(packet)) => { self.note(received?); }
                _ = tick.tick() => self.ping().await?,
            }
        }
    }

    async fn publish(&mut self, payload: &[u8]) -> Result<(), CliError> {
        let acknowledged = self.qos.has_packet_identifier();
        let publish = PublishRef {
            topic: self.topic,
            payload,
            qos: self.qos,
            retain: false,
            dup: false,
            packet_identifier: acknowledged.then_some(self.packet_identifier),
        };
        let mut packet = Vec::new();
        encode_publish(&mut packet, &publish).map_err(|error| failed(error.to_string()))?;
        self.session.send(&packet).await?;
        if acknowledged {
            while self.receive().await? != Received::Puback(self.packet_identifier) {}
            self.packet_identifier = self.packet_identifier.next();
        }
        Ok(())
    }

    /// Waits until the server has handled everything that was sent: it answers in order.
    async fn confirm(&mut self) -> Result<(), CliError> {
        self.ping().await?;
        let answered = async {
            while self.pings > 0 {
                self.receive().await?;
            }
            Ok(())
        };
        let late = |_| {
            let seconds = CONFIRM_TIMEOUT.as_secs();
            failed(format!("the server did not answer within {seconds} s; messages may be lost"))
        };
        timeout(CONFIRM_TIMEOUT, answered).await.map_err(late)?
    }

    async fn ping(&mut self) -> Result<(), CliError> {
        let mut packet = Vec::new();
        encode_pingreq(&mut packet);
        self.pings += 1;
        self.session.send(&packet).await
    }

    async fn receive(&mut self) -> Result<Received, CliError> {
        let received = self.session.receive(|packet| Received::from(packet)).await?;
        self.note(received);
        Ok(received)
    }

    fn note(&mut self, received: Received) {
        if received == Received::Pingresp {
            self.pings = self.pings.saturating_sub(1);
        }
    }
}

/// What a publisher makes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Puback(PacketIdentifier),
    Pingresp,
    Other,
}

impl From<ServerPacket<'_>> for Received {
    fn from(packet: ServerPacket<'_>) -> Self {
        match packet {
            ServerPacket::Puback(identifier) => Self::Puback(identifier),
            ServerPacket::Pingresp => Self::Pingresp,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    const PINGREQ: [u8; 2] = [0xc0, 0];
    const PINGRESP: [u8; 2] = [0xd0, 0];

    #[tokio::test]
    async fn a_server_that_closes_instead_of_taking_a_message_is_a_failure() {
        // With QoS 0 nothing acknowledges a message. The command used to end with exit code 0 although the server had
        // closed the connection because of a forbidden topic, and the message was lost without a word.
        let (near, mut far) = duplex(1024);
        let mut publisher = Publisher::new(MqttSession::over(near), "t", QoS::AtMostOnce);
        publisher.publish(b"m").await.unwrap();
        let mut packet = [0; 6];
        far.read_exact(&mut packet).await.unwrap();
        assert_eq!(packet, [0x30, 4, 0, 1, b't', b'm']);
        drop(far);
        assert!(publisher.confirm().await.is_err());
    }

    #[tokio::test]
    async fn the_session_is_kept_alive_while_no_line_comes() {
        // Reading standard input blocked the only thread, so a sensor that printed a line every two minutes lost its
        // session to the keep-alive, and then its next line.
        let (near, mut far) = duplex(1024);
        let (sender, lines) = mpsc::channel(1);
        let server = async move {
            let (mut sender, mut pings, mut message) = (Some(sender), 0, Vec::new());
            let mut head = [0; 2];
            while far.read_exact(&mut head).await.is_ok() {
                if head == PINGREQ {
                    pings += 1;
                    far.write_all(&PINGRESP).await.unwrap();
                } else {
                    message.resize(usize::from(head[1]), 0);
                    far.read_exact(&mut message).await.unwrap();
                }
                if pings == 3
                    && let Some(sender) = sender.take()
                {
                    sender.send(Ok(b"late\r".to_vec())).await.unwrap();
                }
            }
            message
        };
        let client = async {
            let mut publisher = Publisher::new(MqttSession::over(near), "t", QoS::AtMostOnce);
            publisher.publish_lines(lines, Duration::from_millis(1)).await.unwrap();
            publisher.confirm().await.unwrap();
            assert_eq!(publisher.pings, 0);
        };
        let (message, ()) = tokio::join!(server, client);
        assert_eq!(message, b"\x00\x01tlate");
    }
}
