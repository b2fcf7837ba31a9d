//! SUBSCRIBE and UNSUBSCRIBE: the log changes the subscriptions, on all nodes; the answer waits until all that serve have
//! followed.
//!
//! A subscription begins in the moment in which its entry is applied here: under the catalog's write lock the observer puts
//! it into the index, and keeps the state of that moment for the stored messages. A permanent message is applied, and
//! delivered live, under the same lock. So each reaches a new subscription exactly once: as a stored one if it is older
//! than the moment, as a live one if it is younger. The connection holds live ones back until the stored ones are sent.

use std::collections::HashSet;
use std::sync::Arc;

use actix::prelude::{AsyncContext, Context, Handler, Message};
use bytes::Bytes;

use super::{RegistryActor, StoredDelivery, Subscribe, Subscribed, Unsubscribe, Unsubscribed};
use crate::actors::close::CloseReason;
use crate::actors::post::post_always;
use crate::actors::reply::Reply;
use crate::actors::space::Moment;
use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::Catalog;
use crate::domain::catalog::command::ChangeSubscriptions;
use crate::domain::interest::Interest;
use crate::domain::principal::{Principal, SpaceId};
use crate::domain::resolve;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::{PacketIdentifier, QoS};
use crate::store::{ChangedSubscriptions, StoreError};

/// What the log has made of a [`Subscribe`].
#[derive(Message)]
#[rtype(result = "()")]
pub struct Changed {
    principal: Principal,
    request: Subscribe,
    /// For each request, whether it was proposed.
    proposed: Vec<bool>,
    /// If some of the filters select stored messages.
    moment: Option<Moment>,
    result: Result<ChangedSubscriptions, StoreError>,
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
    fn subscribe(&self, request: Subscribe, context: &Context<Self>) {
        let (environment, id) = (&self.environment, request.tenure.id);
        let topics = environment.settings.topics;
        let Some(session) = environment.catalog.session(id).filter(|it| it.epoch == request.tenure.epoch)
        else {
            // Its connection is being closed for the true reason, unless that is lost.
            return request.reply.close(CloseReason::NodeGone);
        };
        let principal = session.principal.clone();
        // A packet may hold many thousands of filters: nobody waits for the catalog's lock meanwhile.
        let catalog = environment.catalog.view();
        let filters = request.requests.iter().map(|(filter, _)| filter);
        let interests: Vec<Option<Interest>> =
            filters.map(|filter| resolve::filter(&principal, filter, &catalog, topics).ok()).collect();
        drop(catalog);
        let selects_stored = interests.iter().flatten().any(|interest| interest.stored().is_some());
        let proposed: Vec<bool> = interests.iter().map(Option::is_some).collect();
        if !proposed.contains(&true) {
            let codes = vec![SubackCode::Failure; proposed.len()];
            return answer(request, codes, Vec::new());
        }
        let added = request.requests.iter().zip(&proposed).filter(|(_, proposed)| **proposed);
        let command = ChangeSubscriptions {
            id,
            epoch: request.tenure.epoch,
            added: added.map(|(request, _)| request.clone()).collect(),
            removed: Vec::new(),
            subscriptions_max: u32::try_from(environment.settings.subscriptions_max).unwrap_or(u32::MAX),
        };
        let moment = selects_stored.then(|| self.space.watch_for(id));
        let registry = context.address();
        environment.catalog.change_subscriptions_async(command, move |result| {
            post_always(&registry, Changed { principal, request, proposed, moment, result });
        });
    }

    fn changed(&mut self, message: Changed) {
        let Changed { principal, request, proposed, moment, result } = message;
        self.space.forget(request.tenure.id);
        let changed = match result {
            Ok(changed) => changed,
            Err(StoreError::Rejected(_)) => return request.reply.close(CloseReason::NodeGone),
            Err(error) if error.may_have_applied() => return request.reply.close(CloseReason::NotConfirmed),
            Err(_) => {
                let codes = vec![SubackCode::Failure; proposed.len()];
                return answer(request, codes, Vec::new());
            }
        };
        let mut of_log = changed.codes.into_iter();
        let code = |proposed| if proposed { of_log.next() } else { None }.unwrap_or(SubackCode::Failure);
        let codes: Vec<SubackCode> = proposed.into_iter().map(code).collect();
        let at_moment = moment.as_ref().and_then(|moment| moment.get());
        let stored = self.stored_for(&principal, &request, &codes, at_moment);
        self.environment.barrier.wait(changed.index, move || answer(request, codes, stored));
    }

    /// What new subscriptions are sent at once.
    fn stored_for(
        &mut self,
        principal: &Principal,
        request: &Subscribe,
        codes: &[SubackCode],
        at_moment: Option<&Catalog>,
    ) -> Vec<StoredDelivery> {
        let environment = Arc::clone(&self.environment);
        let settings = &environment.settings;
        let mut stored: Vec<StoredDelivery> = Vec::new();
        let mut monitoring = Vec::new();
        for ((filter, _), code) in request.requests.iter().zip(codes) {
            let SubackCode::Granted(granted) = code else { continue };
            if let Some(catalog) = at_moment
                && let Ok(interest) = resolve::filter(principal, filter, catalog, settings.topics)
            {
                let room = settings.stored_messages_per_subscribe_max.saturating_sub(stored.len());
                let retain = settings.retain_flag_on_stored;
                stored.extend(stored_messages(&interest, *granted, &self.space.id, catalog, retain, room));
            }
            let interest = resolve::granted(principal, filter, settings.topics);
            monitoring.extend(interest.filter(Interest::is_monitoring));
        }
        deduplicate(&mut stored);
        let has_others = environment.catalog.read(|catalog| catalog.epochs().nth(1).is_some());
        if !monitoring.is_empty() && has_others {
            self.space.retell();
        }
        for interest in &monitoring {
            self.monitoring_snapshots(interest, &mut stored);
        }
        stored
    }

    fn unsubscribe(&self, request: Unsubscribe) {
        let Unsubscribe { tenure, packet_identifier, filters, reply } = request;
        let catalog = &self.environment.catalog;
        let Some(session) = catalog.session(tenure.id).filter(|it| it.epoch == tenure.epoch) else {
            return reply.close(CloseReason::NodeGone);
        };
        // Each once, found in one pass: a packet may name a hundred thousand.
        let mut known: HashSet<&str> = session.subscriptions.iter().map(|(filter, _)| filter).collect();
        let removed: Vec<_> = filters.into_iter().filter(|filter| known.remove(filter.as_str())).collect();
        if removed.is_empty() {
            return reply.send(Unsubscribed { packet_identifier });
        }
        let command = ChangeSubscriptions {
            id: tenure.id,
            epoch: tenure.epoch,
            added: Vec::new(),
            removed,
            subscriptions_max: u32::MAX,
        };
        catalog.change_subscriptions_async(command, move |result| {
            finish_unsubscribe(&result, packet_identifier, reply)
        });
    }
}

fn answer(request: Subscribe, codes: Vec<SubackCode>, stored: Vec<StoredDelivery>) {
    let Subscribe { packet_identifier, requests, at, span, reply, .. } = request;
    reply.send(Subscribed { packet_identifier, requests, codes, stored, at, span });
}

fn finish_unsubscribe(
    result: &Result<ChangedSubscriptions, StoreError>,
    packet_identifier: PacketIdentifier,
    reply: Reply,
) {
    match result {
        Ok(_) => reply.send(Unsubscribed { packet_identifier }),
        Err(StoreError::Rejected(_)) => reply.close(CloseReason::NodeGone),
        // UNSUBACK cannot refuse (MQTT-3.10.4-4), so the session ends with what it could not end.
        Err(_) => reply.close(CloseReason::NotConfirmed),
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

    fn handle(&mut self, message: Subscribe, context: &mut Self::Context) {
        self.subscribe(message, context);
    }
}

impl Handler<Changed> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Changed, _context: &mut Self::Context) {
        self.changed(message);
    }
}

impl Handler<Unsubscribe> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Unsubscribe, _context: &mut Self::Context) {
        self.unsubscribe(message);
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
