//! What happens in the demo, over real TLS connections.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::fleet::Fleet;
use super::{DemoError, say};
use crate::cli::arguments::ClientArguments;
use crate::cli::arguments::mqtt::MqttConnection;
use crate::cli::error::CliError;
use crate::cli::mqtt::connection::{MqttSession, failed};
use crate::mqtt::client_side::{ServerPacket, encode_puback, encode_publish, encode_subscribe};
use crate::mqtt::packet::publish::PublishRef;
use crate::mqtt::packet::subscribe::SubscribeRequest;
use crate::mqtt::qos::{PacketIdentifier, QoS};

/// How long a message may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Telemetry goes up, a command comes down, both with QoS 1.
pub async fn tell(client: &ClientArguments, mqtts: SocketAddr, fleet: &Fleet) -> Result<(), DemoError> {
    let mut back_end = open(client, &login(mqtts, &fleet.registry, &fleet.registry_password)).await?;
    let certificate = certificate(mqtts, &fleet.thermometer_certificate, &fleet.thermometer_key);
    let mut thermometer = open(client, &certificate).await?;
    let mut valve = open(client, &login(mqtts, &fleet.valve, &fleet.valve_password)).await?;

    say("\nTelemetry: thermometer -> back end")?;
    subscribe(&mut back_end, "$devices/+/events/#").await?;
    say("  back end     subscribed to  $devices/+/events/#")?;
    let topic = format!("$devices/{}/events/temperature", fleet.thermometer);
    publish(&mut thermometer, &topic, b"21.5").await?;
    say(&format!("  thermometer  published      {topic}  21.5"))?;
    let received = receive(&mut back_end, "telemetry").await?;
    say(&format!("  back end     received       {received}"))?;

    say("\nCommand: back end -> valve")?;
    subscribe(&mut valve, "$me/device/commands/#").await?;
    say("  valve        subscribed to  $me/device/commands/#")?;
    let topic = format!("$devices/{}/commands/open", fleet.valve);
    publish(&mut back_end, &topic, b"40").await?;
    say(&format!("  back end     published      {topic}  40"))?;
    let received = receive(&mut valve, "the command").await?;
    say(&format!("  valve        received       {received}"))?;

    for session in [back_end, thermometer, valve] {
        session.close().await?;
    }
    Ok(())
}

fn login(mqtts: SocketAddr, id: &str, password: &str) -> MqttConnection {
    MqttConnection {
        server: mqtts.to_string(),
        plain: false,
        cert: None,
        key: None,
        username: Some(id.into()),
        password: Some(password.into()),
        client_id: None,
    }
}

fn certificate(mqtts: SocketAddr, certificate: &Path, key: &Path) -> MqttConnection {
    MqttConnection {
        server: mqtts.to_string(),
        plain: false,
        cert: Some(certificate.into()),
        key: Some(key.into()),
        username: None,
        password: None,
        client_id: None,
    }
}

async fn open(client: &ClientArguments, connection: &MqttConnection) -> Result<MqttSession, DemoError> {
    Ok(MqttSession::open(client, connection).await?)
}

async fn subscribe(session: &mut MqttSession, filter: &str) -> Result<(), DemoError> {
    let mut packet = Vec::new();
    let request = SubscribeRequest { filter, qos: QoS::AtLeastOnce };
    encode_subscribe(&mut packet, PacketIdentifier::FIRST, [request]).map_err(encoding)?;
    session.send(&packet).await?;
    wait(session, "SUBACK", |packet| matches!(packet, ServerPacket::Suback(_)).then_some(())).await
}

async fn publish(session: &mut MqttSession, topic: &str, payload: &[u8]) -> Result<(), DemoError> {
    let mut packet = Vec::new();
    let publish = PublishRef {
        topic,
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        dup: false,
        packet_identifier: Some(PacketIdentifier::FIRST),
    };
    encode_publish(&mut packet, &publish).map_err(encoding)?;
    session.send(&packet).await?;
    wait(session, "PUBACK", |packet| matches!(packet, ServerPacket::Puback(_)).then_some(())).await
}

/// Waits for a message, acknowledges it, and returns it as text.
async fn receive(session: &mut MqttSession, what: &'static str) -> Result<String, DemoError> {
    let (text, packet_identifier) = wait(session, what, |packet| match packet {
        ServerPacket::Publish(publish) => {
            let payload = String::from_utf8_lossy(publish.payload);
            Some((format!("{}  {payload}", publish.topic), publish.packet_identifier))
        }
        _ => None,
    })
    .await?;
    if let Some(packet_identifier) = packet_identifier {
        let mut packet = Vec::new();
        encode_puback(&mut packet, packet_identifier);
        session.send(&packet).await?;
    }
    Ok(text)
}

/// Waits for the first packet that `wanted` takes.
async fn wait<T>(
    session: &mut MqttSession,
    what: &'static str,
    wanted: impl Fn(ServerPacket<'_>) -> Option<T>,
) -> Result<T, DemoError> {
    let waiting = async {
        loop {
            if let Some(found) = session.receive(&wanted).await? {
                return Ok::<T, CliError>(found);
            }
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(DemoError::NotDelivered(what, PATIENCE.as_secs())),
    }
}

fn encoding(error: crate::mqtt::packet::EncodeError) -> DemoError {
    failed(error.to_string()).into()
}
