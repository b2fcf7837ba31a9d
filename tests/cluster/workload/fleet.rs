//! Who is in the fleet.

use std::{ops::Range, sync::Arc, time::Duration};

use rookery_harness::{api::Entity, cluster::Cluster, fixture::PASSWORD};

use super::script::{Filter, Script, Topics};
use crate::history::{ClientNumber, TopicNumber};

/// Devices that report and take commands.
const DEVICES: usize = 6;
/// Clients on each node that receive all reports.
const WATCHERS: usize = 2;
/// Pairs that fight for one identifier.
const RIVALRIES: usize = 2;

const MODERATE: Duration = Duration::from_millis(40);
const SLOW: Duration = Duration::from_millis(150);
/// Of clients that find another node soon.
const IMPATIENT: Duration = Duration::from_secs(8);
/// Of clients that are still there when a node wakes up.
const PATIENT: Duration = Duration::from_secs(60);
const VISIT: Range<Duration> = Duration::from_millis(500)..Duration::from_secs(4);

/// What the fleet consists of in the catalog.
pub struct Entities {
    /// The registry of all.
    pub registry: Entity,
    /// Its devices.
    pub devices: Vec<Entity>,
}

impl Entities {
    /// Creates them, each with a password.
    pub async fn create(cluster: &Cluster) -> Self {
        let api = cluster.api(0);
        let registry = api.create_registry().await.expect("a registry is created");
        api.add_password(&registry, PASSWORD).await.expect("a password is added");
        let mut devices = Vec::new();
        for _ in 0..DEVICES {
            let device = api.create_device(&registry, &[]).await.expect("a device is created");
            let device = Entity::Device(device.id);
            api.add_password(&device, PASSWORD).await.expect("a password is added");
            devices.push(device);
        }
        cluster.wait_until_applied(&api).await;
        Self { registry, devices }
    }
}

/// Collects scripts with their numbers.
#[derive(Default)]
struct Fleet {
    scripts: Vec<Script>,
    topics: Topics,
}

impl Fleet {
    /// Adds a client that does nothing yet.
    fn add(&mut self, entity: &Entity, client_id: String, home: usize) -> &mut Script {
        let number = ClientNumber::try_from(self.scripts.len()).expect("there are few");
        self.scripts.push(Script {
            number,
            client_id,
            login: entity.id().to_owned(),
            tls: number % 5 == 0,
            home,
            roams: true,
            filters: Vec::new(),
            publications: Vec::new(),
            pace: MODERATE,
            patience: if number % 2 == 0 { IMPATIENT } else { PATIENT },
            stay: None,
        });
        self.scripts.last_mut().expect("it was pushed")
    }
}

/// All clients, spread over the nodes, and the topics that they use.
pub fn scripts(entities: &Entities, nodes: usize) -> (Vec<Script>, Topics) {
    let mut fleet = Fleet::default();
    let mut add_topics = |kind: &str| -> Vec<TopicNumber> {
        let name = |device: &Entity| format!("$devices/{}/{kind}/a", device.id());
        entities.devices.iter().map(|device| fleet.topics.add(name(device))).collect()
    };
    let (reports, commands) = (add_topics("events"), add_topics("commands"));
    let filter = |name: &str, quality, topics: &[TopicNumber]| Filter {
        text: name.to_owned(),
        quality,
        topics: Arc::from(topics),
    };
    for (number, device) in entities.devices.iter().enumerate() {
        let client = fleet.add(device, format!("device-{number}"), number % nodes);
        client.publications = vec![(reports[number], 1), (reports[number], 1), (reports[number], 0)];
        client.filters =
            vec![filter(&format!("$devices/{}/commands/#", device.id()), 1, &commands[number..=number])];
    }
    let all_reports: Vec<_> = entities
        .devices
        .iter()
        .zip(&reports)
        .map(|(device, report)| filter(&format!("$devices/{}/events/a", device.id()), 1, &[*report]))
        .collect();
    for node in 0..nodes {
        for number in 0..WATCHERS {
            let watcher = fleet.add(&entities.registry, format!("watcher-{node}-{number}"), node);
            watcher.filters.clone_from(&all_reports);
            watcher.roams = number > 0;
            watcher.pace = SLOW;
        }
        let commander = fleet.add(&entities.registry, format!("commander-{node}"), node);
        commander.publications = commands.iter().map(|command| (*command, 1)).collect();
        let visitor = fleet.add(&entities.registry, format!("visitor-{node}"), node);
        visitor.filters.clone_from(&all_reports);
        visitor.filters.iter_mut().step_by(2).for_each(|filter| filter.quality = 0);
        visitor.stay = Some(VISIT);
        visitor.pace = SLOW;
    }
    for number in 0..RIVALRIES {
        let device = &entities.devices[number];
        let rival = fleet.add(device, format!("rival-{number}"), number % nodes);
        rival.pace = SLOW;
        rival.stay = Some(VISIT);
        let mut other = rival.clone();
        other.home = (number + 1) % nodes;
        other.stay = None;
        fleet.scripts.push(other);
    }
    (fleet.scripts, fleet.topics)
}
