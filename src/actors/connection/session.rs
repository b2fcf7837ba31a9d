//! The live session of a connection: who it is, where its messages go, its will.

use std::rc::Rc;
use std::sync::Arc;

use actix::prelude::Addr;
use smol_str::SmolStr;

use crate::actors::activity::{Activity, Reporter};
use crate::actors::authenticator::Identity;
use crate::actors::environment::Settings;
use crate::actors::lane::LaneState;
use crate::actors::registry::RegistryActor;
use crate::actors::routes::Route;
use crate::actors::space::Space;
use crate::actors::tenure::Tenure;
use crate::domain::principal::Principal;
use crate::mqtt::packet::connect::WillRef;
use crate::mqtt::qos::QoS;
use crate::store::now_ns;

/// The will of a session (U-M9). Its topic is checked when it fires.
#[derive(Clone)]
pub struct Will {
    /// The topic as the client wrote it.
    pub topic: Box<str>,
    /// The message.
    pub payload: Box<[u8]>,
    /// 0 or 1; 2 counts as 1.
    pub qos: QoS,
}

impl From<&WillRef<'_>> for Will {
    fn from(will: &WillRef<'_>) -> Self {
        Self { topic: will.topic.into(), payload: will.payload.into(), qos: will.qos.min(QoS::AtLeastOnce) }
    }
}

/// A live session. It lives as long as its connection (U-M5).
pub struct Session {
    /// Who it is.
    pub identity: Identity,
    /// Its place in the log.
    pub tenure: Arc<Tenure>,
    /// Its client identifier as sent, possibly empty.
    pub client_id: SmolStr,
    /// Its topic space.
    pub space: Arc<Space>,
    /// The actor of its space.
    pub registry: Addr<RegistryActor>,
    /// Published if the session ends without DISCONNECT.
    pub will: Option<Will>,
    /// The route of the last publish: most clients publish to one topic.
    pub(super) last_route: Option<Rc<Route>>,
    /// When it may publish at full speed again, see [`Rate`].
    full_at_ns: u64,
    reporter: Option<Rc<Reporter>>,
}

impl Session {
    /// A session that has just begun.
    pub fn new(
        identity: Identity,
        tenure: Arc<Tenure>,
        client_id: SmolStr,
        space: Arc<Space>,
        registry: Addr<RegistryActor>,
        will: Option<Will>,
    ) -> Self {
        let reporter =
            identity.principal.device().map(|device| Reporter::new(device.clone(), registry.clone()));
        Self { identity, tenure, client_id, space, registry, will, last_route: None, full_at_ns: 0, reporter }
    }

    /// Whether one more message is within the rate of the client, and of its broker (U-M11).
    pub(super) fn is_within_rate(&mut self, settings: &Settings) -> bool {
        match (&self.identity.principal, settings.device_rate, settings.broker_rate) {
            (Principal::Device { .. }, Some(rate), _) => {
                let admitted = rate.admit(self.full_at_ns, now_ns());
                self.full_at_ns = admitted.unwrap_or(self.full_at_ns);
                admitted.is_some()
            }
            (Principal::Broker(_), _, Some(rate)) => self.space.admits(rate, now_ns()),
            _ => true,
        }
    }

    /// Notes that a device is alive.
    pub(super) fn note(&self, lane: &mut LaneState, activity: Activity) {
        if let Some(reporter) = &self.reporter {
            reporter.note(activity, lane.time());
        }
    }
}
