//! What devices did lately, reported to their registry actors once per tick: the source of monitoring data.
//!
//! On the way of a message this costs one flag; the list of those who have something to report is per thread.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use actix::prelude::Addr;

use super::post::post;
use super::registry::{ActivityReport, DeviceActivity, RegistryActor};
use crate::domain::id::DeviceId;
use crate::domain::timestamp::Timestamp;

thread_local! {
    static ACTIVE: RefCell<Vec<Rc<Reporter>>> = const { RefCell::new(Vec::new()) };
}

/// The activity of one device connection since its last report.
#[derive(Debug)]
pub struct Reporter {
    device: DeviceId,
    registry: Addr<RegistryActor>,
    published: Cell<Option<Timestamp>>,
    subscribed: Cell<Option<Timestamp>>,
    online: Cell<Option<Timestamp>>,
}

/// What a device did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// It published.
    Publish,
    /// It subscribed.
    Subscribe,
    /// It sent something else.
    Other,
}

impl Reporter {
    /// A reporter for a device of the registry behind `registry`.
    pub fn new(device: DeviceId, registry: Addr<RegistryActor>) -> Rc<Self> {
        Rc::new(Self {
            device,
            registry,
            published: Cell::new(None),
            subscribed: Cell::new(None),
            online: Cell::new(None),
        })
    }

    /// Notes an activity.
    pub fn note(self: &Rc<Self>, activity: Activity, now: Timestamp) {
        match activity {
            Activity::Publish => self.published.set(Some(now)),
            Activity::Subscribe => self.subscribed.set(Some(now)),
            Activity::Other => {}
        }
        if self.online.replace(Some(now)).is_none() {
            ACTIVE.with_borrow_mut(|active| active.push(Rc::clone(self)));
        }
    }
}

/// Reports all activity of this thread since the last call. A report for an actor that has ended is dropped: the next
/// one of the device goes to its successor.
#[expect(clippy::mutable_key_type, reason = "an address is hashed by its identity, which does not change")]
pub fn report() {
    let active = ACTIVE.take();
    let mut by_registry: HashMap<Addr<RegistryActor>, Vec<DeviceActivity>> = HashMap::new();
    for reporter in active {
        let activity = DeviceActivity {
            device: reporter.device.clone(),
            published: reporter.published.take(),
            subscribed: reporter.subscribed.take(),
            online: reporter.online.take(),
        };
        by_registry.entry(reporter.registry.clone()).or_default().push(activity);
    }
    for (registry, activities) in by_registry {
        let _ = post(&registry, ActivityReport { activities });
    }
}
