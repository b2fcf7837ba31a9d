//! Monitoring: when devices were last heard of, told to subscribers at most once per second and device (U-T23), and
//! proposed to the catalog in batches.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use actix::prelude::Handler;

use super::subscriptions::monitoring_delivery;
use super::{ActivityReport, MonitoringStored, RegistryActor, StoredDelivery};
use crate::actors::routes;
use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::command::LastSeen;
use crate::domain::catalog::page::PageRequest;
use crate::domain::id::{DeviceId, RegistryId};
use crate::domain::interest::{Interest, MonitoringScope};
use crate::domain::monitoring::{Access, MonitoringRecord};
use crate::domain::principal::SpaceId;
use crate::domain::timestamp::Timestamp;
use crate::mqtt::qos::QoS;

/// Last-seen times are proposed every so many ticks of the registry actor.
const PROPOSAL_TICKS: u32 = 5;

/// Devices whose news wait to be proposed, at most; beyond it they are proposed at once.
const NEWS_MAX: usize = 10_000;

/// What happened since the last message and since the last proposal.
#[derive(Default)]
pub struct MonitoringTable {
    /// News that the catalog does not have yet.
    news: HashMap<DeviceId, MonitoringRecord>,
    /// Devices with something to tell at the next tick.
    untold: HashSet<DeviceId>,
    /// Devices told about since the last tick; they wait for the next.
    told: HashSet<DeviceId>,
    ticks: u32,
}

impl MonitoringTable {
    /// The device is gone.
    pub fn forget(&mut self, device: &DeviceId) {
        self.news.remove(device);
        self.untold.remove(device);
        self.told.remove(device);
    }
}

impl RegistryActor {
    pub(super) fn note_login(&mut self, device: DeviceId, peer: IpAddr, now: Timestamp) {
        self.note(device, |record| record.note(Access::Connect(peer), now));
    }

    pub(super) fn note_disconnect(&mut self, device: DeviceId, now: Timestamp) {
        self.note(device, |record| record.note(Access::Disconnect, now));
    }

    fn note(&mut self, device: DeviceId, change: impl FnOnce(&mut MonitoringRecord)) {
        change(self.monitoring.news.entry(device.clone()).or_default());
        if self.monitoring.told.contains(&device) {
            self.monitoring.untold.insert(device);
        } else {
            self.tell(&device);
            self.monitoring.told.insert(device);
        }
        if self.monitoring.news.len() >= NEWS_MAX {
            self.propose_last_seen();
        }
    }

    fn registry_id(&self) -> Option<&RegistryId> {
        match &self.space.id {
            SpaceId::Registry(id) => Some(id),
            SpaceId::Broker(_) => None,
        }
    }

    /// All that is known of a device: what the catalog has and the news.
    fn record(&self, device: &DeviceId) -> MonitoringRecord {
        let known = self.environment.catalog.read(|catalog| catalog.monitoring(device).cloned());
        let mut record = known.map(|known| (*known).clone()).unwrap_or_default();
        if let Some(news) = self.monitoring.news.get(device) {
            record.merge(news);
        }
        record
    }

    /// Sends the monitoring message of a device to its subscribers on all nodes, if there are any: a fleet that nobody
    /// watches costs nothing here.
    fn tell(&self, device: &DeviceId) {
        let Some(registry) = self.registry_id().filter(|_| self.space.is_monitored()) else { return };
        let topic = CanonicalTopic::monitoring(device);
        let route = self
            .environment
            .catalog
            .read(|catalog| routes::matching(&self.space, topic.clone(), topic.as_str(), catalog));
        if route.is_empty() {
            return;
        }
        let json = self.record(device).to_json(registry, device);
        routes::deliver_from_outside(&self.environment, &route, json.as_bytes(), QoS::AtMostOnce);
    }

    /// The catalog has learned of a device what another node may have told before a subscriber of this one was there: it
    /// is told again here, to the sessions of this node.
    fn tell_here(&self, device: &DeviceId) {
        let Some(registry) = self.registry_id() else { return };
        let topic = CanonicalTopic::monitoring(device);
        let route = self
            .environment
            .catalog
            .read(|catalog| routes::matching(&self.space, topic.clone(), topic.as_str(), catalog));
        let json = self.record(device).to_json(registry, device);
        routes::deliver_on_this_node(&self.environment.lanes, &route, json.as_bytes(), QoS::AtMostOnce);
    }

    /// The tick: tells what has waited, and proposes what the catalog does not have.
    pub(super) fn flush_monitoring(&mut self) {
        let untold = std::mem::take(&mut self.monitoring.untold);
        for device in &untold {
            self.tell(device);
        }
        self.monitoring.told = untold;
        self.monitoring.ticks += 1;
        if self.monitoring.ticks >= PROPOSAL_TICKS {
            self.monitoring.ticks = 0;
            self.propose_last_seen();
        }
    }

    /// What cannot be proposed now (no room on the disk, say) is dropped: later activity brings later times.
    fn propose_last_seen(&mut self) {
        let news = std::mem::take(&mut self.monitoring.news);
        if news.is_empty() {
            return;
        }
        let entries: Vec<LastSeen> =
            news.into_iter().map(|(device_id, monitoring)| LastSeen { device_id, monitoring }).collect();
        self.environment.catalog.last_seen(entries);
    }

    /// The current snapshot, once, for a new subscription to monitoring (U-T23).
    pub(super) fn monitoring_snapshots(&self, interest: &Interest, found: &mut Vec<StoredDelivery>) {
        let (Some(scope), Some(registry)) = (interest.monitoring(), self.registry_id()) else { return };
        let room = self.environment.settings.stored_messages_per_subscribe_max.saturating_sub(found.len());
        let devices: Vec<DeviceId> = match scope {
            MonitoringScope::Device(device) => vec![device.clone()],
            MonitoringScope::EveryDevice => {
                let page = PageRequest::first(room);
                let devices =
                    self.environment.catalog.read(|catalog| catalog.devices_of_registry(registry, &page));
                devices.items.iter().map(|device| device.id.clone()).collect()
            }
        };
        found.extend(devices.iter().take(room).filter_map(|device| {
            let record = self.record(device);
            // Who asks for one device gets an answer even if there is nothing to tell yet.
            if record == MonitoringRecord::default() && matches!(scope, MonitoringScope::EveryDevice) {
                return None;
            }
            let json = record.to_json(registry, device);
            monitoring_delivery(interest, &CanonicalTopic::monitoring(device), json)
        }));
    }
}

impl Handler<MonitoringStored> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: MonitoringStored, _context: &mut Self::Context) {
        self.tell_here(&message.0);
    }
}

impl Handler<ActivityReport> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: ActivityReport, _context: &mut Self::Context) {
        for activity in message.activities {
            self.note(activity.device, |record| {
                record.merge(&MonitoringRecord {
                    last_pub_activity_time: activity.published,
                    last_sub_activity_time: activity.subscribed,
                    last_online_time: activity.online,
                    ..MonitoringRecord::default()
                });
            });
        }
    }
}
