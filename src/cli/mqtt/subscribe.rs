//! `rookery mqtt subscribe`.

use std::time::Duration;

use base64::Engine as _;
use serde_json::json;

use super::connection::{KEEP_ALIVE_S, MqttSession, failed};
use crate::cli::arguments::mqtt::SubscribeArguments;
use crate::cli::arguments::{ClientArguments, Format};
use crate::cli::error::CliError;
use crate::cli::output::{note, write_while_read};
use crate::mqtt::client_side::{ServerPacket, encode_pingreq, encode_puback, encode_subscribe};
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::packet::subscribe::{SubackCode, SubscribeRequest};
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::mqtt::topic::filter::validate_topic_filter;

/// Prints messages until interrupted, or until the wanted number has arrived.
pub async fn run(client: &ClientArguments, arguments: &SubscribeArguments) -> Result<(), CliError> {
    for filter in &arguments.topics {
        validate_topic_filter(filter).map_err(|error| CliError::Argument {
            flag: "--topic",
            rule: error.to_string(),
            value: filter.clone(),
        })?;
    }
    let mut session = MqttSession::open(client, &arguments.connection).await?;
    let requests = arguments.topics.iter().map(|filter| SubscribeRequest { filter, qos: arguments.qos });
    let mut packet = Vec::new();
    encode_subscribe(&mut packet, PacketIdentifier::FIRST, requests)
        .map_err(|error| failed(error.to_string()))?;
    session.send(&packet).await?;

    let mut ping = tokio::time::interval(Duration::from_secs(u64::from(KEEP_ALIVE_S) / 2));
    ping.tick().await;
    let mut messages = 0;
    while arguments.count.is_none_or(|count| messages < count) {
        let event = tokio::select! {
            event = session.receive(|packet| interpret(packet, client.format, arguments)) => event??,
            _ = ping.tick() => Event::Reply(pingreq()),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(|error| failed(error.to_string()))?;
                break;
            }
        };
        match event {
            Event::Nothing => {}
            Event::Subscribed => note("subscribed"),
            Event::Reply(packet) => session.send(&packet).await?,
            Event::Message { text, acknowledgement } => {
                if !write_while_read(&text)? {
                    break;
                }
                messages += 1;
                session.send(&acknowledgement).await?;
            }
        }
    }
    session.close().await
}

enum Event {
    Nothing,
    /// The server confirmed all filters.
    Subscribed,
    /// Something to send.
    Reply(Vec<u8>),
    /// A message: what to print, and the PUBACK, which is empty for QoS 0.
    Message {
        text: String,
        acknowledgement: Vec<u8>,
    },
}

fn pingreq() -> Vec<u8> {
    let mut packet = Vec::new();
    encode_pingreq(&mut packet);
    packet
}

fn interpret(
    packet: ServerPacket<'_>,
    format: Format,
    arguments: &SubscribeArguments,
) -> Result<Event, CliError> {
    match packet {
        ServerPacket::Suback(suback) => {
            let refused = arguments.topics.iter().zip(suback.codes());
            let refused: Vec<&str> = refused
                .filter(|(_, code)| *code == SubackCode::Failure)
                .map(|(filter, _)| filter.as_str())
                .collect();
            match refused.is_empty() {
                true => Ok(Event::Subscribed),
                false => Err(failed(format!(
                    "the server refused the subscription to {}: this identity may not read it",
                    refused.join(", ")
                ))),
            }
        }
        ServerPacket::Publish(publish) => {
            let mut acknowledgement = Vec::new();
            if let (QoS::AtLeastOnce, Some(identifier)) = (publish.qos, publish.packet_identifier) {
                encode_puback(&mut acknowledgement, identifier);
            }
            Ok(Event::Message { text: message_text(&publish, format, arguments.details), acknowledgement })
        }
        _ => Ok(Event::Nothing),
    }
}

/// A message as it is printed: the payload; with details its topic, QoS and message id before it; as
/// JSON one object per line, with the payload as Base64 if it is not UTF-8.
fn message_text(publish: &PublishRef<'_>, format: Format, details: bool) -> String {
    let message_id = publish.packet_identifier.map_or(0, PacketIdentifier::get);
    match format {
        Format::Json | Format::JsonRest => {
            let mut object =
                json!({ "topic": publish.topic, "qos": publish.qos.bits(), "message_id": message_id });
            match std::str::from_utf8(publish.payload) {
                Ok(text) => object["payload"] = json!(text),
                Err(_) => {
                    let encoded = base64::engine::general_purpose::STANDARD.encode(publish.payload);
                    object["payload_base64"] = json!(encoded);
                }
            }
            format!("{object}\n")
        }
        Format::Text | Format::Yaml => {
            let payload = String::from_utf8_lossy(publish.payload);
            match details {
                true => format!(
                    "topic: {}\nqos: {}\nmessage_id: {message_id}\npayload: {payload}\n\n",
                    publish.topic, publish.qos
                ),
                false => format!("{payload}\n"),
            }
        }
    }
}
