//! From a scenario to connections: who logs in as whom, publishes where and subscribes to what.

use std::fs;
use std::io::Write as _;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::packet::{PublishTemplate, publish_template};
use crate::scenario::{Filters, Placement, Scenario, Shape, Topics};
use crate::tls::authority::Identity;

/// User name and password of a connection.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// MQTT user name; the id of a device, registry or broker resource.
    pub username: String,
    /// MQTT password.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Login").field("username", &self.username).finish_non_exhaustive()
    }
}

/// A registry with devices.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fleet {
    /// Login of the back end.
    pub registry: Login,
    /// Logins of the devices; a run with more connections than devices uses them in turn.
    pub devices: Vec<Login>,
}

impl Fleet {
    fn device(&self, index: u32) -> &Login {
        &self.devices[index as usize % self.devices.len()]
    }
}

/// How topics and logins are chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
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

/// How a run gets in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Access {
    /// Topics and logins.
    pub addressing: Addressing,
    /// Certificates of the senders, used in turn; without any they log in by password.
    pub identities: Vec<Arc<Identity>>,
}

/// A fleet that was made, with the certificate of each device.
#[derive(Debug)]
pub struct Made {
    /// Its logins. Those of the devices have no password that works.
    pub fleet: Fleet,
    /// The certificates, in the order of the devices.
    pub identities: Vec<Arc<Identity>>,
}

impl Made {
    /// Writes the `--fleet` file, readable by its owner only, and the certificates and keys into a directory, if one is
    /// given.
    pub fn write(&self, path: &Path, certificates: Option<&Path>) -> anyhow::Result<()> {
        let entity = |login: &Login| Entity { id: login.username.clone(), ..Entity::default() };
        let registry =
            Entity { password: self.fleet.registry.password.clone(), ..entity(&self.fleet.registry) };
        let mut devices: Vec<_> = self.fleet.devices.iter().map(entity).collect();
        if let Some(directory) = certificates {
            fs::create_dir_all(directory).with_context(|| format!("directory {}", directory.display()))?;
            for (device, identity) in devices.iter_mut().zip(&self.identities) {
                let file = |suffix: &str| directory.join(format!("{}.{suffix}", device.id));
                let (certificate, key) = (file("pem"), file("key"));
                write_private(&certificate, &identity.certificate)?;
                write_private(&key, &identity.key)?;
                (device.certificate, device.key) = (Some(certificate), Some(key));
            }
        }
        write_private(path, &serde_json::to_string(&FleetFile { registry, devices })?)
    }
}

/// Writes a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// What stands in a `--fleet` file.
#[derive(Serialize, Deserialize)]
struct FleetFile {
    registry: Entity,
    devices: Vec<Entity>,
}

#[derive(Default, Serialize, Deserialize)]
struct Entity {
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    password: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

impl Access {
    /// Without certificates.
    pub fn by_password(addressing: Addressing) -> Self {
        Self { addressing, identities: Vec::new() }
    }

    /// Reads a fleet file: `{"registry": {"id": …, "password": …}, "devices": [{"id": …, "password": …}, …]}`.
    /// Devices may have `certificate` and `key`, PEM files, instead of a password; then all must.
    pub fn load_fleet(path: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("file {}", path.display()));
        let load = || -> anyhow::Result<Self> {
            let file: FleetFile = serde_json::from_str(&read(path)?)?;
            let files = file.devices.iter().filter_map(|it| it.certificate.as_ref().zip(it.key.as_ref()));
            let identity = |(certificate, key): (&PathBuf, &PathBuf)| {
                Ok(Arc::new(Identity { certificate: read(certificate)?, key: read(key)? }))
            };
            let identities = files.map(identity).collect::<anyhow::Result<Vec<_>>>()?;
            ensure!(!file.devices.is_empty(), "no devices");
            ensure!(
                identities.is_empty() || identities.len() == file.devices.len(),
                "{} devices, but {} certificates with a key",
                file.devices.len(),
                identities.len()
            );
            let login = |entity: Entity| Login { username: entity.id, password: entity.password };
            let devices = file.devices.into_iter().map(login).collect();
            let fleet = Fleet { registry: login(file.registry), devices };
            Ok(Self { addressing: Addressing::Fleet(fleet), identities })
        };
        load().with_context(|| format!("fleet file {}", path.display()))
    }

    fn identity(&self, index: u32) -> Option<Arc<Identity>> {
        self.identities.get(index as usize % self.identities.len().max(1)).cloned()
    }

    fn sender(&self, index: u32) -> Option<Login> {
        // A password would outrank the certificate.
        if self.identities.is_empty() { self.addressing.sender(index) } else { None }
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
    /// User name and password.
    pub login: Option<Login>,
    /// Certificate.
    pub identity: Option<Arc<Identity>>,
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
    pub fn new(scenario: &Scenario, access: &Access, nodes: usize, prefix: &str) -> Self {
        let addressing = &access.addressing;
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
            identity: None,
            filters,
            node: reader_node(index),
        };
        let publisher = |index: u32| PublisherPlan {
            client: ClientPlan {
                client_id: format!("{prefix}p{index}"),
                login: access.sender(index),
                identity: access.identity(index),
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
            login: access.sender(index),
            identity: access.identity(index),
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
        let access = Access::by_password(Addressing::Free(None));
        let plan = Plan::new(scenario, &access, nodes, "");
        let ends = plan.publishers.iter().zip(&plan.subscribers);
        ends.map(|(publisher, subscriber)| (publisher.client.node, subscriber.client.node)).collect()
    }

    #[test]
    fn a_fleet_file_has_passwords_or_certificates() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("fleet.json");
        let load = |devices: &str| {
            let text = format!(r#"{{"registry": {{"id": "r", "password": "p"}}, "devices": [{devices}]}}"#);
            std::fs::write(&path, text).unwrap();
            Access::load_fleet(&path)
        };
        let access = load(r#"{"id": "d0", "password": "p0"}, {"id": "d1", "password": "p1"}"#).unwrap();
        assert_eq!(access.sender(3).map(|login| login.username), Some("d1".to_owned()));
        let pem = directory.path().join("some.pem");
        std::fs::write(&pem, "some").unwrap();
        let device = |id: &str| format!(r#"{{"id": "{id}", "certificate": {pem:?}, "key": {pem:?}}}"#);
        let access = load(&device("d0")).unwrap();
        assert_eq!((access.sender(0), access.identity(7).unwrap().key.as_str()), (None, "some"));
        assert!(load(&(device("d0") + r#", {"id": "d1", "password": "p1"}"#)).is_err());
        assert!(load("").is_err());
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
