//! What one client is and does.

use std::{collections::HashMap, ops::Range, sync::Arc, time::Duration};

use crate::history::{ClientNumber, TopicNumber};

/// All topics of the fleet, by number.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    names: Vec<String>,
    numbers: HashMap<String, TopicNumber>,
}

impl Topics {
    /// Adds a topic and returns its number.
    pub fn add(&mut self, name: String) -> TopicNumber {
        let number = TopicNumber::try_from(self.names.len()).expect("there are few");
        self.numbers.insert(name.clone(), number);
        self.names.push(name);
        number
    }

    /// The number of a topic.
    pub fn number(&self, name: &str) -> Option<TopicNumber> {
        self.numbers.get(name).copied()
    }

    /// The name of a topic.
    pub fn name(&self, number: TopicNumber) -> &str {
        &self.names[number as usize]
    }
}

/// A filter with the topics that it selects.
#[derive(Clone, Debug)]
pub struct Filter {
    /// As it is sent.
    pub text: String,
    /// Quality of service asked for.
    pub quality: u8,
    /// What it selects.
    pub topics: Arc<[TopicNumber]>,
}

/// A client.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its number; two scripts with one number fight for one session.
    pub number: ClientNumber,
    /// Client identifier.
    pub client_id: String,
    /// Id of the entity.
    pub login: String,
    /// Connects with TLS.
    pub tls: bool,
    /// The node that it turns to first.
    pub home: usize,
    /// Turns to any node after it lost a connection; otherwise always to the same.
    pub roams: bool,
    /// What it subscribes to.
    pub filters: Vec<Filter>,
    /// What it publishes, with the quality of service, in turn.
    pub publications: Vec<(TopicNumber, u8)>,
    /// Time between two publications or, without any, two PINGREQ.
    pub pace: Duration,
    /// How long it waits for any answer before it gives a connection up.
    pub patience: Duration,
    /// How long it stays, if it leaves by itself.
    pub stay: Option<Range<Duration>>,
}
