//! A history by sessions and messages.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use crate::history::{ClientNumber, Deed, History, MessageNumber, SessionNumber, Time, TopicNumber, What};

/// A message as its publisher saw it.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// The publisher's session.
    pub session: SessionNumber,
    /// Its topic.
    pub topic: TopicNumber,
    /// Quality of service.
    pub quality: u8,
    /// When it was sent, at the earliest.
    pub sent_at: Time,
    /// When the PUBACK was read.
    pub acknowledged_at: Option<Time>,
}

/// A granted filter.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Topics that it selects.
    pub topics: Arc<[TopicNumber]>,
    /// When the SUBACK was read.
    pub from: Time,
    /// When UNSUBSCRIBE was sent.
    pub until: Option<Time>,
}

/// A received message.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    /// Which.
    pub message: MessageNumber,
    /// On which topic.
    pub topic: Option<TopicNumber>,
    /// Quality of service of the delivery.
    pub quality: u8,
}

/// A connection attempt with all that followed.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Whose it is.
    pub client: ClientNumber,
    /// The node.
    pub node: usize,
    /// When it was begun.
    pub begun_at: Time,
    /// When the CONNACK was read.
    pub connected_at: Option<Time>,
    /// When its end was seen or made.
    pub ended_at: Option<Time>,
    /// Topics that it asked for, granted or not.
    pub asked: HashSet<TopicNumber>,
    /// Its granted filters.
    pub subscriptions: Vec<Subscription>,
    /// What it received, in order.
    pub receipts: Vec<Receipt>,
    /// When each thing was sent that was answered.
    pub answered: Vec<Time>,
}

/// All sessions and messages.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By number.
    pub sessions: HashMap<SessionNumber, Session>,
    /// By number.
    pub messages: HashMap<MessageNumber, Message>,
}

impl View {
    /// Sorts a history out.
    pub fn of(history: &History) -> Self {
        let mut view = Self::default();
        for event in &history.events {
            if let What::Session(session, deed) = &event.what {
                view.take(event.at, *session, deed);
            }
        }
        view
    }

    fn take(&mut self, at: Time, number: SessionNumber, deed: &Deed) {
        let session = self.sessions.entry(number).or_default();
        match deed {
            Deed::Connecting { client, node } => {
                (session.client, session.node, session.begun_at) = (*client, *node, at);
            }
            Deed::Connected => session.connected_at = Some(at),
            Deed::Subscribing(topics) => session.asked.extend(topics.iter()),
            Deed::Subscribed(topics) => {
                let topics = Arc::clone(topics);
                session.subscriptions.push(Subscription { topics, from: at, until: None });
            }
            Deed::Unsubscribing(topics) => {
                let open = session.subscriptions.iter_mut().filter(|it| it.until.is_none());
                open.filter(|it| it.topics == *topics).for_each(|it| it.until = Some(at));
            }
            Deed::Publishing { message, topic, quality } => {
                let (topic, quality) = (*topic, *quality);
                let sent = Message { session: number, topic, quality, sent_at: at, acknowledged_at: None };
                self.messages.insert(*message, sent);
            }
            Deed::Acknowledged(message) => {
                if let Some(message) = self.messages.get_mut(message) {
                    message.acknowledged_at = Some(at);
                }
            }
            Deed::Received { message, topic, quality, .. } => {
                session.receipts.push(Receipt { message: *message, topic: *topic, quality: *quality });
            }
            Deed::Answered(asked_at) => session.answered.push(*asked_at),
            Deed::Lost | Deed::Left | Deed::Refused(_) => session.ended_at = Some(at),
        }
    }
}
