//! `rookery mqtt publish`.

use std::fs;
use std::io::BufRead as _;

use super::connection::{MqttSession, failed};
use crate::cli::arguments::ClientArguments;
use crate::cli::arguments::mqtt::PublishArguments;
use crate::cli::error::CliError;
use crate::mqtt::client_side::{ServerPacket, encode_publish};
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::qos::PacketIdentifier;
use crate::mqtt::topic::name::validate_topic_name;

/// Publishes the messages; with QoS 1 each is acknowledged before the next is sent.
pub async fn run(client: &ClientArguments, arguments: &PublishArguments) -> Result<(), CliError> {
    validate_topic_name(&arguments.topic).map_err(|error| CliError::Argument {
        flag: "--topic",
        rule: error.to_string(),
        value: arguments.topic.clone(),
    })?;
    let mut publisher = Publisher {
        session: MqttSession::open(client, &arguments.connection).await?,
        arguments,
        packet_identifier: PacketIdentifier::FIRST,
    };
    if arguments.source.stdin {
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(|error| CliError::Stream { stream: "standard input", error })?;
            publisher.publish(line.as_bytes()).await?;
        }
    } else if let Some(path) = &arguments.source.file {
        publisher.publish(&fs::read(path).map_err(CliError::reading(path))?).await?;
    } else {
        publisher.publish(arguments.source.message.as_deref().unwrap_or_default().as_bytes()).await?;
    }
    publisher.session.close().await
}

struct Publisher<'a> {
    session: MqttSession,
    arguments: &'a PublishArguments,
    packet_identifier: PacketIdentifier,
}

impl Publisher<'_> {
    async fn publish(&mut self, payload: &[u8]) -> Result<(), CliError> {
        let acknowledged = self.arguments.qos.has_packet_identifier();
        let publish = PublishRef {
            topic: &self.arguments.topic,
            payload,
            qos: self.arguments.qos,
            retain: false,
            dup: false,
            packet_identifier: acknowledged.then_some(self.packet_identifier),
        };
        let mut packet = Vec::new();
        encode_publish(&mut packet, &publish).map_err(|error| failed(error.to_string()))?;
        self.session.send(&packet).await?;
        if acknowledged {
            let expected = self.packet_identifier;
            let arrived = |packet: ServerPacket<'_>| packet == ServerPacket::Puback(expected);
            while !self.session.receive(arrived).await? {}
            self.packet_identifier = self.packet_identifier.next();
        }
        Ok(())
    }
}
