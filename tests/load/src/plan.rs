//! From a scenario to connections: who logs in as whom, publishes where and subscribes to what.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;

use crate::packet::{PublishTemplate, publish_template};
use crate::scenario::{Scenario, Shape};

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
    /// Devices publish telemetry to `$devices/<id>/events`, which the registry's login reads.
    Fleet(Fleet),
}

impl Addressing {
    fn topic(&self, publisher: u32) -> String {
        match self {
            Self::Free(_) => format!("bench/{publisher}"),
            Self::Fleet(fleet) => format!("$devices/{}/events", fleet.device(publisher).username),
        }
    }

    fn everything(&self) -> String {
        match self {
            Self::Free(_) => "bench/#".to_owned(),
            Self::Fleet(_) => "$devices/+/events".to_owned(),
        }
    }

    fn idle_filter(&self, connection: u32, subscription: u32) -> String {
        match self {
            Self::Free(_) => format!("bench/idle/{connection}/{subscription}"),
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

/// What is needed to bring one connection up.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// MQTT client identifier.
    pub client_id: String,
    /// Credentials.
    pub login: Option<Login>,
    /// Subscribed to after CONNACK, in one SUBSCRIBE.
    pub filters: Vec<String>,
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
    /// Lays out a scenario. Client ids begin with `prefix`.
    pub fn new(scenario: &Scenario, addressing: &Addressing, prefix: &str) -> Self {
        let reader = |kind: &str, index: u32, filters: Vec<String>| ClientPlan {
            client_id: format!("{prefix}{kind}{index}"),
            login: addressing.reader(),
            filters,
        };
        let publisher = |index: u32| PublisherPlan {
            client: ClientPlan {
                client_id: format!("{prefix}p{index}"),
                login: addressing.sender(index),
                filters: Vec::new(),
            },
            template: publish_template(&addressing.topic(index), scenario.qos, scenario.payload_bytes),
        };
        let subscriber = |index: u32| {
            let publishers = match scenario.shape {
                Shape::Pairs => index..index + 1,
                Shape::FanIn | Shape::FanOut | Shape::Idle => 0..scenario.publishers,
            };
            let filters = publishers.clone().map(|publisher| addressing.topic(publisher)).collect();
            SubscriberPlan { client: reader("s", index, filters), publishers }
        };
        let idle = |index: u32| ClientPlan {
            client_id: format!("{prefix}i{index}"),
            login: addressing.sender(index),
            filters: (0..scenario.subscriptions)
                .map(|filter| addressing.idle_filter(index, filter))
                .collect(),
        };
        Self {
            publishers: (0..scenario.publishers).map(publisher).collect(),
            subscribers: (0..scenario.subscribers).map(subscriber).collect(),
            stalled: (0..scenario.stalled)
                .map(|index| reader("z", index, vec![addressing.everything()]))
                .collect(),
            idle: (0..scenario.connections).map(idle).collect(),
        }
    }

    /// How many subscribers must get each message of a publisher.
    pub fn copies(&self, publisher: u32) -> u32 {
        self.subscribers.iter().filter(|subscriber| subscriber.publishers.contains(&publisher)).count() as u32
    }
}
