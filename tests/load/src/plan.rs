//! From a scenario to connections: who logs in as whom, publishes where and subscribes to what.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::packet::{PublishTemplate, publish_template};
use crate::scenario::{Filters, Placement, Scenario, Shape, Topics};

/// User name and password of a connection.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub struct Login {
    /// MQTT user name; in a fleet file the id of the device or registry.
    #[serde(rename = "id")]
    pub username: String,
    /// MQTT password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A registry with devices, as the `--fleet` file has it:
/// `{"registry": {"id": …, "password": …}, "devices": [{"id": …, "password": …}, …]}`.
#[derive(Debug, Clone, Deserialize)]
pub struct Fleet {
    /// Login of the backend.
    pub registry: Login,
    /// Logins of the devices; a run with more connections than devices uses them in turn.
    pub devices: Vec<Login>,
}

impl Fleet {
    /// Reads a fleet file.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("fleet file {}", path.display()))?;
        let fleet: Self =
            serde_json::from_str(&text).with_context(|| format!("fleet file {}", path.display()))?;
        ensure!(!fleet.devices.is_empty(), "fleet file {} has no devices", path.display());
        Ok(fleet)
    }

    fn device(&self, index: u32) -> &Login {
        &self.devices[index as usize % self.devices.len()]
    }
}

/// How topics and logins are chosen.
#[derive(Debug, Clone)]
pub enum Addressing {
    /// Free topics `bench/<i>`, one login (or none) for all: any plain broker, or a *broker* resource.
    Free(Option<Login>),
    /// Devices publish to `$devices/<id>/events` (or `state`), which the registry's login reads.
    Fleet(Fleet),
}

impl Addressing {
    fn topic(&self, publisher: u32, topics: Topics) -> String {
        match self {
            Self::Free(_) => format!("bench/{publisher}"),
            Self::Fleet(fleet) => format!("$devices/{}/{}", fleet.device(publisher).username, kind(topics)),
        }
    }

    fn everything(&self, topics: Topics) -> String {
        match self {
            Self::Free(_) => "bench/#".to_owned(),
            Self::Fleet(_) => format!("$devices/+/{}/#", kind(topics)),
        }
    }

    fn idle_filter(&self, connection: u32, subscription: u32) -> String {
        match self {
            Self::Free(_) => format!("bench/{connection}-{subscription}"),
            Self::Fleet(fleet) => {
                format!("$devices/{}/commands/{subscription}", fleet.device(connection).username)
            }
        }
    }

    fn sender(&self, index: u32) -> Option<Login> {
        match self {
            Self::Free(login) => login.clone(),
            Self::Fleet(fleet) => Some(fleet.device(index).clone()),
        }
    }

    fn reader(&self) -> Option<Login> {
        match self {
            Self::Free(login) => login.clone(),
            Self::Fleet(fleet) => Some(fleet.registry.clone()),
        }
    }
}

/// The level of a device's topic that says what its messages are.
fn kind(topics: Topics) -> &'static str {
    match topics {
        Topics::Free | Topics::Events => "events",
        Topics::State => "state",
    }
}

/// What is needed to bring one connection up.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// MQTT client identifier.
    pub client_id: String,
    /// Credentials.
    pub login: Option<Login>,
    /// Subscribed to after CONNACK, in one SUBSCRIBE.
    pub filters: Vec<String>,
    /// Which of the broker's nodes it connects to, from 0.
    pub node: usize,
}

/// A publishing connection.
#[derive(Debug, Clone)]
pub struct PublisherPlan {
    /// The connection.
    pub client: ClientPlan,
    /// Its PUBLISH.
    pub template: PublishTemplate,
}

/// A subscribing connection that reads.
#[derive(Debug, Clone)]
pub struct SubscriberPlan {
    /// The connection.
    pub client: ClientPlan,
    /// The publishers whose messages it must get, all of them and no others.
    pub publishers: Range<u32>,
}

/// All connections of a run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Publishers, by index.
    pub publishers: Vec<PublisherPlan>,
    /// Subscribers that read.
    pub subscribers: Vec<SubscriberPlan>,
    /// Subscribers that never read.
    pub stalled: Vec<ClientPlan>,
    /// Connections without traffic.
    pub idle: Vec<ClientPlan>,
}

impl Plan {
    /// Lays out a scenario over the `nodes` of a broker. Client ids begin with `prefix`.
    pub fn new(scenario: &Scenario, addressing: &Addressing, nodes: usize, prefix: &str) -> Self {
        let nodes = nodes.max(1);
        let topic = |publisher: u32| addressing.topic(publisher, scenario.topics);
        let everything = || addressing.everything(scenario.topics);
        let sender_node = |index: u32| match scenario.placement {
            Placement::Spread => index as usize % nodes,
            Placement::Apart => 0,
        };
        let reader_node = |index: u32| match scenario.placement {
            // A step slower than the publishers, so that the pairs make all combinations.
            Placement::Spread => index as usize / nodes % nodes,
            Placement::Apart => 1 % nodes,
        };
        let reader = |kind: &str, index: u32, filters: Vec<String>| ClientPlan {
            client_id: format!("{prefix}{kind}{index}"),
            login: addressing.reader(),
            filters,
            node: reader_node(index),
        };
        let publisher = |index: u32| PublisherPlan {
            client: ClientPlan {
                client_id: format!("{prefix}p{index}"),
                login: addressing.sender(index),
                filters: Vec::new(),
                node: sender_node(index),
            },
            template: publish_template(&topic(index), scenario.qos, scenario.payload_bytes),
        };
        let subscriber = |index: u32| {
            let publishers = match scenario.shape {
                Shape::Pairs => index..index + 1,
                Shape::FanIn | Shape::FanOut | Shape::Idle => 0..scenario.publishers,
            };
            let filters = match scenario.filters {
                Filters::Exact => publishers.clone().map(topic).collect(),
                Filters::Wildcard => vec![everything()],
            };
            SubscriberPlan { client: reader("s", index, filters), publishers }
        };
        let idle = |index: u32| ClientPlan {
            client_id: format!("{prefix}i{index}"),
            login: addressing.sender(index),
            filters: (0..scenario.subscriptions)
                .map(|filter| addressing.idle_filter(index, filter))
                .collect(),
            node: sender_node(index),
        };
        Self {
            publishers: (0..scenario.publishers).map(publisher).collect(),
            subscribers: (0..scenario.subscribers).map(subscriber).collect(),
            stalled: (0..scenario.stalled).map(|index| reader("z", index, vec![everything()])).collect(),
            idle: (0..scenario.connections).map(idle).collect(),
        }
    }

    /// How many subscribers must get each message of a publisher.
    pub fn copies(&self, publisher: u32) -> u32 {
        self.subscribers.iter().filter(|subscriber| subscriber.publishers.contains(&publisher)).count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{built_in, find};

    fn nodes(scenario: &Scenario, nodes: usize) -> Vec<(usize, usize)> {
        let plan = Plan::new(scenario, &Addressing::Free(None), nodes, "");
        let ends = plan.publishers.iter().zip(&plan.subscribers);
        ends.map(|(publisher, subscriber)| (publisher.client.node, subscriber.client.node)).collect()
    }

    #[test]
    fn pairs_are_spread_over_all_combinations_of_nodes_or_kept_apart() {
        let mut scenario = find(&built_in().unwrap(), "pairs").unwrap();
        (scenario.publishers, scenario.subscribers) = (9, 9);
        let spread = nodes(&scenario, 3);
        for combination in 0..9 {
            assert!(spread.contains(&(combination / 3, combination % 3)), "{spread:?}");
        }
        scenario.placement = Placement::Apart;
        assert!(nodes(&scenario, 3).iter().all(|ends| *ends == (0, 1)));
        assert!(nodes(&scenario, 1).iter().all(|ends| *ends == (0, 0)));
    }
}
