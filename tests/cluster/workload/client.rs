//! One client of the fleet: connects, does what its script says, notes everything, and begins again.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rookery_harness::{
    fixture::PASSWORD,
    packet::{self, Connect, Message, Packet},
    tls::TlsOptions,
    wire::Wire,
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{Phase, Shared, script::Script};
use crate::history::{Deed, MessageNumber, SessionNumber, Time};

/// Time for a TCP connection and a TLS handshake.
const OPEN_WAIT: Duration = Duration::from_secs(5);
/// Time for the server to take bytes.
const SEND_WAIT: Duration = Duration::from_secs(5);
/// Messages without PUBACK of one session.
const WINDOW: usize = 16;
/// Between two PINGREQ of a client that publishes.
const PING_PAUSE: Duration = Duration::from_millis(500);
/// Pause before the next attempt, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 20..400;

/// Lives until the fleet ends.
pub async fn live(shared: Arc<Shared>, script: Script, seed: u64) {
    let own = u64::from(script.number) << 32 | script.home as u64;
    let mut random = StdRng::seed_from_u64(seed ^ own);
    let mut phase = shared.phase.clone();
    let mut node = script.home;
    while *phase.borrow() != Phase::Ended {
        let stay = script.stay.clone().map(|stay| random.random_range(stay));
        one_session(&shared, &script, node, stay).await;
        if script.roams {
            node = random.random_range(0..shared.cluster.size());
        }
        let pause = Duration::from_millis(random.random_range(PAUSE_MS));
        // The end of the fleet ends the pause.
        let _ = timeout(pause, end_of_fleet(&mut phase)).await;
    }
}

async fn end_of_fleet(phase: &mut watch::Receiver<Phase>) {
    // A fleet that is dropped has ended as well.
    let _ = phase.wait_for(|phase| *phase == Phase::Ended).await;
}

/// Opens one session and keeps it as long as it lasts.
async fn one_session(shared: &Shared, script: &Script, node: usize, stay: Option<Duration>) {
    let number = shared.recorder.connecting(script.number, node);
    let opened = timeout(OPEN_WAIT, open(shared, script, node)).await;
    let Ok(Ok(wire)) = opened else {
        shared.recorder.session(number, Deed::Lost);
        return;
    };
    let mut session = Session {
        shared,
        script,
        number,
        wire,
        in_flight: HashMap::new(),
        pings: VecDeque::new(),
        subscribing: None,
        next_identifier: 1,
        next_publication: 0,
        heard_at: Instant::now(),
        last_ping_at: Instant::now(),
    };
    let end = session.run(stay).await;
    shared.unacknowledged.fetch_sub(session.in_flight.len(), Ordering::Relaxed);
    if let Some(deed) = end {
        shared.recorder.session(number, deed);
    }
}

async fn open(shared: &Shared, script: &Script, node: usize) -> std::io::Result<Wire> {
    let node = shared.cluster.node(node);
    if script.tls {
        return Wire::tls(node.address("mqtts"), &node.ca_pem(), &TlsOptions::default()).await;
    }
    Wire::tcp(node.address("mqtt")).await
}

/// Why a session cannot go on: what to note, nothing at the end of the fleet.
type End = Option<Deed>;

struct Session<'a> {
    shared: &'a Shared,
    script: &'a Script,
    number: SessionNumber,
    wire: Wire,
    in_flight: HashMap<u16, (MessageNumber, Time)>,
    pings: VecDeque<Time>,
    /// SUBSCRIBE without its SUBACK.
    subscribing: Option<(u16, Time)>,
    next_identifier: u16,
    next_publication: usize,
    heard_at: Instant,
    last_ping_at: Instant,
}

impl Session<'_> {
    async fn run(&mut self, stay: Option<Duration>) -> End {
        self.connect_and_stay(stay).await.err()
    }

    async fn connect_and_stay(&mut self, stay: Option<Duration>) -> Result<(), Deed> {
        let connect = Connect::new(&self.script.client_id).login(&self.script.login, PASSWORD);
        self.send(&connect.encode()).await?;
        match timeout(self.script.patience, self.wire.next()).await {
            Ok(Some(Packet::ConnAck { code: 0, .. })) => self.note(Deed::Connected),
            Ok(Some(Packet::ConnAck { code, .. })) => return Err(Deed::Refused(code)),
            _ => return Err(Deed::Lost),
        };
        self.subscribe().await?;
        let mut phase = self.shared.phase.clone();
        let mut turns = interval(self.script.pace);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let leaves_at = stay.map(|stay| Instant::now() + stay);
        loop {
            tokio::select! {
                packet = self.wire.next() => self.take(packet.ok_or(Deed::Lost)?).await?,
                _ = turns.tick() => self.turn(leaves_at).await?,
                () = end_of_fleet(&mut phase) => return Ok(()),
            }
        }
    }

    /// What is done now and then.
    async fn turn(&mut self, leaves_at: Option<Instant>) -> Result<(), Deed> {
        let (now, is_running) = (Instant::now(), self.shared.is_running());
        if now - self.heard_at > self.script.patience {
            return Err(Deed::Left);
        }
        if is_running && leaves_at.is_some_and(|leaves_at| now > leaves_at) {
            self.send(&packet::DISCONNECT).await?;
            return Err(Deed::Left);
        }
        let publishes = is_running && !self.script.publications.is_empty();
        if publishes && self.in_flight.len() < WINDOW && self.shared.recorder.has_room() {
            self.publish().await?;
        }
        // Answers to PINGREQ show that the session lives.
        if self.script.publications.is_empty() || now - self.last_ping_at > PING_PAUSE {
            self.last_ping_at = now;
            self.pings.push_back(self.shared.recorder.now());
            self.send(&packet::PINGREQ).await?;
        }
        Ok(())
    }

    async fn subscribe(&mut self) -> Result<(), Deed> {
        if self.script.filters.is_empty() {
            return Ok(());
        }
        let identifier = self.identifier();
        let mut asked_at = 0;
        for filter in &self.script.filters {
            asked_at = self.note(Deed::Subscribing(Arc::clone(&filter.topics)));
        }
        self.subscribing = Some((identifier, asked_at));
        let filters: Vec<_> =
            self.script.filters.iter().map(|filter| (filter.text.as_str(), filter.quality)).collect();
        self.send(&packet::subscribe(identifier, &filters)).await
    }

    async fn publish(&mut self) -> Result<(), Deed> {
        let publications = &self.script.publications;
        let (topic, quality) = publications[self.next_publication % publications.len()];
        self.next_publication += 1;
        let message = self.shared.recorder.next_message();
        let name = self.shared.topics.name(topic);
        let mut packet = Message::new(name, message.to_string().as_bytes(), quality);
        let sent_at = self.note(Deed::Publishing { message, topic, quality });
        if quality == 1 {
            packet.packet_identifier = self.identifier();
            self.in_flight.insert(packet.packet_identifier, (message, sent_at));
            self.shared.unacknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.send(&packet.encode()).await
    }

    async fn take(&mut self, packet: Packet) -> Result<(), Deed> {
        self.heard_at = Instant::now();
        match packet {
            Packet::Publish(message) => self.receive(message).await?,
            Packet::PubAck(identifier) => {
                let (message, sent_at) =
                    self.in_flight.remove(&identifier).expect("a PUBACK has its PUBLISH");
                self.shared.unacknowledged.fetch_sub(1, Ordering::Relaxed);
                self.note(Deed::Acknowledged(message));
                self.note(Deed::Answered(sent_at));
            }
            Packet::SubAck { packet_identifier, codes } => {
                let (identifier, asked_at) = self.subscribing.take().expect("a SUBACK has its SUBSCRIBE");
                assert_eq!(packet_identifier, identifier, "the SUBACK's packet identifier");
                // A node that cannot store grants nothing. The client looks for another one.
                if codes.contains(&0x80) {
                    return Err(Deed::Left);
                }
                for filter in &self.script.filters {
                    self.note(Deed::Subscribed(Arc::clone(&filter.topics)));
                }
                self.note(Deed::Answered(asked_at));
            }
            Packet::PingResp => {
                let asked_at = self.pings.pop_front().expect("a PINGRESP has its PINGREQ");
                self.note(Deed::Answered(asked_at));
            }
            other => panic!("client {} got {other:?}", self.script.client_id),
        }
        Ok(())
    }

    async fn receive(&mut self, message: Message) -> Result<(), Deed> {
        let (quality, duplicate) = (message.quality, message.duplicate);
        let topic = self.shared.topics.number(&message.topic);
        // What is no number was not sent by the fleet; number 0 is never given.
        let number = message.text().parse().unwrap_or(0);
        self.note(Deed::Received { message: number, topic, quality, duplicate });
        if quality == 1 {
            self.send(&packet::puback(message.packet_identifier)).await?;
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Deed> {
        match timeout(SEND_WAIT, self.wire.send(bytes)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Deed::Lost),
        }
    }

    fn note(&self, deed: Deed) -> Time {
        self.shared.recorder.session(self.number, deed)
    }

    fn identifier(&mut self) -> u16 {
        loop {
            let identifier = self.next_identifier;
            self.next_identifier = identifier.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains_key(&identifier) {
                return identifier;
            }
        }
    }
}
