//! Subscribing: resolve, put into the index, and collect what is stored, in one step.
//!
//! All of it happens under the catalog's read lock. A permanent message is applied, and delivered live, under its write
//! lock, so each message reaches a new subscription exactly once: as a stored one or as a live one.

use std::sync::Arc;

use actix::prelude::Handler;
use bytes::Bytes;

use super::sessions::Entry;
use super::{RegistryActor, StoredDelivery, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use crate::actors::environment::Settings;
use crate::actors::post::post_always;
use crate::actors::space::Space;
use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::Catalog;
use crate::domain::interest::Interest;
use crate::domain::principal::SpaceId;
use crate::domain::resolve;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::QoS;

/// Adds one subscription of a session; `None` if the filter is refused or the session has too many (U-M12).
fn subscribe(
    entry: &mut Entry,
    space: &Space,
    slot: crate::actors::slot::Slot,
    request: &(Box<str>, QoS),
    catalog: &Catalog,
    settings: &Settings,
) -> Option<Interest> {
    let (filter, qos) = request;
    let is_new = !entry.subscriptions.contains_key(filter);
    if is_new && entry.subscriptions.len() >= settings.subscriptions_max {
        return None;
    }
    let interest = resolve::filter(&entry.identity.principal, filter, catalog, settings.topics).ok()?;
    space.change(|index| {
        if let Some((before, _)) = entry.subscriptions.get(filter) {
            index.remove(before, slot);
        }
        index.insert(&interest, slot, *qos);
    });
    entry.subscriptions.insert(filter.clone(), (interest.clone(), *qos));
    Some(interest)
}

/// The stored messages that a new subscription gets (`spec/topics.md` section 7), up to `room`.
fn stored_messages(
    interest: &Interest,
    granted: QoS,
    space: &SpaceId,
    catalog: &Catalog,
    retain: bool,
    mut room: usize,
) -> Vec<StoredDelivery> {
    let (Some(selection), SpaceId::Registry(registry)) = (interest.stored(), space) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for filter in &selection.filters {
        let selected = catalog.stored_messages(&SpaceId::Registry(registry.clone()), filter.filter(), room);
        room = room.saturating_sub(selected.messages.len());
        found.extend(selected.messages.iter().filter_map(|message| {
            // Only canonical topics are ever stored.
            let topic = CanonicalTopic::parse(&message.topic, registry).ok()?;
            let (payload, qos) = (message.payload.clone(), message.qos.min(granted));
            Some(StoredDelivery { name: filter.name(&topic), payload, qos, retain })
        }));
    }
    found
}

impl RegistryActor {
    fn subscribe(&mut self, message: &Subscribe) -> (Vec<SubackCode>, Vec<StoredDelivery>) {
        let environment = Arc::clone(&self.environment);
        let settings = &environment.settings;
        let space = Arc::clone(&self.space);
        let Some(entry) = self.sessions.get_mut(message.slot) else {
            return (vec![SubackCode::Failure; message.requests.len()], Vec::new());
        };
        let mut stored: Vec<StoredDelivery> = Vec::new();
        let mut interests = Vec::new();
        let mut new_to_monitoring = 0;
        let codes = environment.catalog.read(|catalog| {
            let mut codes = Vec::with_capacity(message.requests.len());
            for request in &message.requests {
                let is_new = !entry.subscriptions.contains_key(&request.0);
                let Some(interest) = subscribe(entry, &space, message.slot, request, catalog, settings)
                else {
                    codes.push(SubackCode::Failure);
                    continue;
                };
                let room = settings.stored_messages_per_subscribe_max.saturating_sub(stored.len());
                let retain = settings.retain_flag_on_stored;
                stored.extend(stored_messages(&interest, request.1, &space.id, catalog, retain, room));
                codes.push(SubackCode::Granted(request.1));
                new_to_monitoring += usize::from(is_new && interest.is_monitoring());
                interests.push(interest);
            }
            codes
        });
        self.monitoring.subscriptions += new_to_monitoring;
        deduplicate(&mut stored);
        for interest in &interests {
            self.monitoring_snapshots(interest, &mut stored);
        }
        (codes, stored)
    }
}

/// One copy per delivered name at the highest QoS, also of stored messages (U-T7).
fn deduplicate(stored: &mut Vec<StoredDelivery>) {
    let mut kept: Vec<StoredDelivery> = Vec::with_capacity(stored.len());
    let mut places = std::collections::HashMap::new();
    for message in stored.drain(..) {
        match places.entry(Arc::clone(&message.name)) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(kept.len());
                kept.push(message);
            }
            std::collections::hash_map::Entry::Occupied(place) => {
                let earlier = &mut kept[*place.get()];
                earlier.qos = earlier.qos.max(message.qos);
            }
        }
    }
    *stored = kept;
}

impl Handler<Subscribe> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Subscribe, _context: &mut Self::Context) {
        let (codes, stored) = self.subscribe(&message);
        let answer = Subscribed {
            packet_identifier: message.packet_identifier,
            requests: message.requests,
            codes,
            stored,
        };
        post_always(&message.reply_to, answer);
    }
}

impl Handler<Unsubscribe> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Unsubscribe, _context: &mut Self::Context) {
        if let Some(entry) = self.sessions.get_mut(message.slot) {
            let removed: Vec<_> =
                message.filters.iter().filter_map(|filter| entry.subscriptions.remove(filter)).collect();
            self.monitoring.unsubscribed(removed.iter().map(|(interest, _)| interest));
            // Every change makes all cached routes of the space stale: no client may cause that by asking for nothing.
            if !removed.is_empty() {
                self.space.change(|index| {
                    for (interest, _) in &removed {
                        index.remove(interest, message.slot);
                    }
                });
            }
        }
        post_always(&message.reply_to, Unsubscribed { packet_identifier: message.packet_identifier });
    }
}

/// A monitoring message as a delivery to a new subscription.
pub(super) fn monitoring_delivery(
    interest: &Interest,
    topic: &CanonicalTopic,
    json: String,
) -> Option<StoredDelivery> {
    let name = interest.delivered_names(topic, &[]).into_iter().next()?;
    Some(StoredDelivery { name, payload: Bytes::from(json), qos: QoS::AtMostOnce, retain: false })
}
