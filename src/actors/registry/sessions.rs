//! The sessions of a space: who is connected, through which outbox, with which subscriptions.

use std::collections::HashMap;

use actix::prelude::{AsyncContext, Context, Handler};

use super::{Attach, Attached, Detach, RegistryActor};
use crate::actors::authenticator::{Identity, admitted};
use crate::actors::close::CloseReason;
use crate::actors::post::post_always;
use crate::actors::slot::Slot;
use crate::clock;
use crate::domain::id::DeviceId;
use crate::domain::interest::Interest;
use crate::mqtt::qos::QoS;

/// A live session.
pub struct Entry {
    /// Who it is.
    pub identity: Identity,
    client_id: Box<str>,
    /// Its subscriptions, by the filter as it was sent.
    pub subscriptions: HashMap<Box<str>, (Interest, QoS)>,
}

/// The sessions of a space.
#[derive(Default)]
pub struct Sessions {
    by_slot: HashMap<Slot, Entry>,
    /// Sessions of devices with a client identifier: there is at most one of each (U-M6).
    by_client: HashMap<(DeviceId, Box<str>), Slot>,
}

impl Sessions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// The outboxes of all.
    pub fn slots(&self) -> Vec<Slot> {
        self.by_slot.keys().copied().collect()
    }

    /// The outboxes of those whom `concerned` selects.
    pub fn slots_where(&self, concerned: impl Fn(&Entry) -> bool) -> Vec<Slot> {
        self.by_slot.iter().filter(|(_, entry)| concerned(entry)).map(|(slot, _)| *slot).collect()
    }

    /// The session of an outbox.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.by_slot.get_mut(&slot)
    }

    /// The older session that has to end before this one begins, if any.
    fn rival(&self, attach: &Attach) -> Option<Slot> {
        let key = client_key(&attach.identity, &attach.client_id)?;
        self.by_client.get(&key).copied()
    }

    fn insert(&mut self, attach: &Attach) {
        if let Some(key) = client_key(&attach.identity, &attach.client_id) {
            self.by_client.insert(key, attach.slot);
        }
        let entry = Entry {
            identity: attach.identity.clone(),
            client_id: attach.client_id.clone(),
            subscriptions: HashMap::new(),
        };
        self.by_slot.insert(attach.slot, entry);
    }

    fn remove(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.by_slot.remove(&slot)?;
        if let Some(key) = client_key(&entry.identity, &entry.client_id)
            && self.by_client.get(&key) == Some(&slot)
        {
            self.by_client.remove(&key);
        }
        Some(entry)
    }
}

/// What must be unique: device and non-empty client identifier. Registries and brokers may have duplicates (U-M6).
fn client_key(identity: &Identity, client_id: &str) -> Option<(DeviceId, Box<str>)> {
    let device = identity.principal.device()?;
    (!client_id.is_empty()).then(|| (device.clone(), client_id.into()))
}

impl RegistryActor {
    fn attach(&mut self, attach: Attach, context: &Context<Self>) {
        if let Some(rival) = self.sessions.rival(&attach) {
            let overtaken = self.waiting.put(rival, attach).unwrap_or(rival);
            self.close_session(overtaken, CloseReason::TakenOver);
            return;
        }
        // Checked here too: what was revoked since the authenticator looked must not get a session, and what is
        // revoked from now on finds it.
        let result = self.environment.catalog.read(|catalog| admitted(catalog, &attach.identity));
        if result.is_ok() {
            self.sessions.insert(&attach);
            if let Some(device) = attach.identity.principal.device() {
                self.note_login(device.clone(), attach.peer, clock::now());
            }
        }
        let answer = Attached {
            result: result.map(|()| std::sync::Arc::clone(&self.space)),
            registry: context.address(),
        };
        post_always(&attach.reply_to, answer);
    }

    fn detach(&mut self, slot: Slot, context: &Context<Self>) {
        if let Some(entry) = self.sessions.remove(slot) {
            self.monitoring.unsubscribed(entry.subscriptions.values().map(|(interest, _)| interest));
            if !entry.subscriptions.is_empty() {
                self.space.change(|index| {
                    for (interest, _) in entry.subscriptions.values() {
                        index.remove(interest, slot);
                    }
                });
            }
            if let Some(device) = entry.identity.principal.device() {
                self.note_disconnect(device.clone(), clock::now());
            }
        }
        // It may have ended while it waited for an older one to end.
        self.waiting.forget(slot);
        if let Some(next) = self.waiting.take(slot) {
            self.attach(next, context);
        }
    }
}

impl Handler<Attach> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Attach, context: &mut Self::Context) {
        self.attach(message, context);
    }
}

impl Handler<Detach> for RegistryActor {
    type Result = ();

    fn handle(&mut self, message: Detach, context: &mut Self::Context) {
        self.detach(message.slot, context);
    }
}
