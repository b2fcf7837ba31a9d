//! What must arrive, in which order, and what must not.

use std::collections::{HashMap, HashSet};

use super::{
    Rule, Violation,
    view::{Message, Receipt, Session, Subscription, View},
};
use crate::history::{MessageNumber, SessionNumber, TopicNumber};

/// Messages that one subscriber must get in order: publisher's session, topic, quality of service.
type Stream = (SessionNumber, TopicNumber, u8);

/// Looks at every session.
pub fn check(view: &View) -> Vec<Violation> {
    let acknowledged = acknowledged_by_topic(view);
    let mut violations = Vec::new();
    for (&number, session) in &view.sessions {
        let checked = Receiver { view, number, session };
        let (received, newest) = checked.receipts(&mut violations);
        for subscription in &session.subscriptions {
            checked.missed(subscription, &acknowledged, &received, &newest, &mut violations);
        }
    }
    violations.sort_by_key(|violation| (violation.messages.clone(), violation.sessions.clone()));
    violations
}

/// Receipts that the rules demand: session and message. Shows that a history that passes has put the promise to a test.
pub fn demanded(view: &View) -> Vec<(SessionNumber, MessageNumber)> {
    let acknowledged = acknowledged_by_topic(view);
    let mut demanded = Vec::new();
    for (&number, session) in &view.sessions {
        let (received, newest) = Receiver { view, number, session }.receipts(&mut Vec::new());
        for subscription in &session.subscriptions {
            let messages = subscription.topics.iter().filter_map(|topic| acknowledged.get(topic)).flatten();
            let is_demanded = |(message, sent): &&(MessageNumber, Message)| {
                let newest = newest.get(&(sent.session, sent.topic, sent.quality));
                is_owed(subscription, sent)
                    && received.contains(message)
                    && (session.ended_at.is_none() || newest.is_some_and(|newest| newest > message))
            };
            demanded.extend(messages.filter(is_demanded).map(|(message, _)| (number, *message)));
        }
    }
    demanded
}

/// Whether a subscription was granted before the message was sent, and held until it was acknowledged.
fn is_owed(subscription: &Subscription, message: &Message) -> bool {
    let acknowledged_at = message.acknowledged_at.unwrap_or(u64::MAX);
    message.sent_at > subscription.from && subscription.until.is_none_or(|until| acknowledged_at < until)
}

/// Acknowledged QoS 1 messages of each topic.
fn acknowledged_by_topic(view: &View) -> HashMap<TopicNumber, Vec<(MessageNumber, Message)>> {
    let mut topics: HashMap<_, Vec<_>> = HashMap::new();
    for (&number, &message) in &view.messages {
        if message.quality == 1 && message.acknowledged_at.is_some() {
            topics.entry(message.topic).or_default().push((number, message));
        }
    }
    topics.values_mut().for_each(|messages| messages.sort_by_key(|(number, _)| *number));
    topics
}

/// A session as receiver.
struct Receiver<'a> {
    view: &'a View,
    number: SessionNumber,
    session: &'a Session,
}

impl Receiver<'_> {
    /// Judges each receipt, and returns all received messages and the newest of each stream.
    fn receipts(
        &self,
        violations: &mut Vec<Violation>,
    ) -> (HashSet<MessageNumber>, HashMap<Stream, MessageNumber>) {
        let (mut received, mut newest) = (HashSet::new(), HashMap::new());
        for receipt in &self.session.receipts {
            let Some(sent) =
                self.view.messages.get(&receipt.message).filter(|sent| self.asked_for(sent, receipt))
            else {
                let text = format!("message {} was not sent, or not asked for", receipt.message);
                violations.push(self.violation(Rule::Foreign, &text, &[receipt.message]));
                continue;
            };
            let is_new = received.insert(receipt.message);
            if !is_new {
                // At least once is the promise of QoS 1.
                if receipt.quality == 0 {
                    let text = format!("message {} came twice with QoS 0", receipt.message);
                    violations.push(self.violation(Rule::Duplicate, &text, &[receipt.message]));
                }
                continue;
            }
            let last = newest.entry((sent.session, sent.topic, sent.quality)).or_insert(receipt.message);
            if receipt.message < *last {
                let text = format!("message {} came after message {last}", receipt.message);
                violations.push(self.violation(Rule::Order, &text, &[receipt.message, *last]));
            }
            *last = receipt.message.max(*last);
        }
        (received, newest)
    }

    /// Whether a receipt has its message's topic and the session has ever asked for it: messages may come before the
    /// SUBACK, and after an UNSUBSCRIBE.
    fn asked_for(&self, sent: &Message, receipt: &Receipt) -> bool {
        receipt.topic == Some(sent.topic)
            && receipt.quality <= sent.quality
            && self.session.asked.contains(&sent.topic)
    }

    /// Finds acknowledged messages that did not come though they had to. A session that ended is owed only what came
    /// before something that it got: messages of a stream come in order, so a gap will not be filled.
    fn missed(
        &self,
        subscription: &Subscription,
        acknowledged: &HashMap<TopicNumber, Vec<(MessageNumber, Message)>>,
        received: &HashSet<MessageNumber>,
        newest: &HashMap<Stream, MessageNumber>,
        violations: &mut Vec<Violation>,
    ) {
        let messages = subscription.topics.iter().filter_map(|topic| acknowledged.get(topic)).flatten();
        for (number, message) in messages {
            if !is_owed(subscription, message) || received.contains(number) {
                continue;
            }
            let newest = newest.get(&(message.session, message.topic, message.quality)).copied();
            let later = newest.filter(|newest| newest > number);
            if self.session.ended_at.is_some() && later.is_none() {
                continue;
            }
            let but =
                later.map_or("the session lived to the end".to_owned(), |it| format!("message {it} came"));
            let text = format!("acknowledged message {number} never came, but {but}");
            let mut violation = self.violation(Rule::Missed, &text, &[*number]);
            violation.messages.extend(later);
            violations.push(violation);
        }
    }

    fn violation(&self, rule: Rule, text: &str, messages: &[MessageNumber]) -> Violation {
        let publishers = messages.iter().filter_map(|message| self.view.messages.get(message));
        let mut sessions = vec![self.number];
        sessions.extend(publishers.map(|message| message.session));
        let text = format!("to session {} on node {}: {text}", self.number, self.session.node);
        Violation { rule, text, sessions, messages: messages.to_vec() }
    }
}
