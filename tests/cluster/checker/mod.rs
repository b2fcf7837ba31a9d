//! The rules that a history must keep. Pure: histories in, violations out.
//!
//! | Rule | Promise |
//! | --- | --- |
//! | [`delivery`] | an acknowledged QoS 1 message reaches every subscription whose SUBACK came before it was sent; in order; QoS 0 at most once; nothing that was never sent or not subscribed to |
//! | [`takeover`] | no two live sessions of one (entity, client identifier) |
//! | [`catalog`] | what was acknowledged is readable on every node afterwards |
//! | [`states`] | equal state at equal index |

pub mod catalog;
pub mod delivery;
pub mod states;
pub mod takeover;
#[cfg(test)]
mod tests;
pub mod view;

use std::fmt;

use crate::history::{Deed, Event, History, MessageNumber, SessionNumber, What};

/// Violations that are printed in full; the rest are counted.
const SHOWN: usize = 5;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub rule: Rule,
    /// What happened, in a sentence.
    pub text: String,
    /// Sessions that it is about.
    pub sessions: Vec<SessionNumber>,
    /// Messages that it is about.
    pub messages: Vec<MessageNumber>,
}

/// The promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// An acknowledged QoS 1 message did not arrive.
    Missed,
    /// Messages of a publisher came in another order.
    Order,
    /// A QoS 0 message came twice.
    Duplicate,
    /// A message came that was not sent, or to one who did not ask for it.
    Foreign,
    /// Two sessions of one client lived.
    TwoLive,
    /// An acknowledged write is not there.
    Lost,
    /// Nodes differ.
    State,
}

/// All violations of the rules that need nothing but the history.
pub fn check(history: &History) -> Vec<Violation> {
    let view = view::View::of(history);
    let mut violations = delivery::check(&view);
    violations.extend(takeover::check(&view));
    violations.extend(states::check(history));
    violations
}

/// Violations with the part of the history that shows them.
pub struct Report<'a> {
    /// The history.
    pub history: &'a History,
    /// What is wrong with it.
    pub violations: &'a [Violation],
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{} violations", self.violations.len())?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(formatter, "\n{:?}: {}", violation.rule, violation.text)?;
            for event in self.history.events.iter().filter(|event| is_related(event, violation)) {
                writeln!(formatter, "  {event}")?;
            }
        }
        Ok(())
    }
}

/// Whether an event belongs into the story: the life of the sessions, the fate of the messages, the faults.
fn is_related(event: &Event, violation: &Violation) -> bool {
    match &event.what {
        What::Fault(_) => true,
        What::Session(session, deed) => {
            violation.sessions.contains(session)
                && match deed {
                    Deed::Publishing { message, .. }
                    | Deed::Acknowledged(message)
                    | Deed::Received { message, .. } => violation.messages.contains(message),
                    Deed::Answered(_) => violation.rule == Rule::TwoLive,
                    _ => true,
                }
        }
        _ => false,
    }
}
