//! Who belongs to the cluster, and how that changes.
//!
//! A node with an empty data directory gets its place in [`obtain`]: [`bootstrap`] decides whether it founds
//! or joins, [`dial`] asks others and [`introduction`] answers them, all by the join secret ([`proof`]). As a
//! member it has a [`service`] that takes changes and sends them on to the leader, which makes them
//! ([`change`], [`transfer`]) as far as the [`rules`] allow. The [`controller`] makes those that need no
//! operator.

mod bootstrap;
mod change;
mod controller;
mod dial;
mod introduction;
mod obtain;
pub(crate) mod pause;
mod proof;
pub(crate) mod request;
mod rules;
mod service;
mod transfer;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tonic::service::Routes;

use crate::error::StartError;
use crate::formats::Release;
use crate::network::Channels;
use crate::nodes::Nodes;
use crate::options::PeerSettings;
use crate::pki::Credentials;
use crate::place::Place;
use crate::raft::{Peer, Raft};
pub(crate) use obtain::new_cluster_id;
pub(crate) use request::new_request_id;

use bootstrap::{Label, Myself};
use change::Changer;
use dial::Dialer;
use introduction::Introducer;
use pause::Pause;
use proof::JoinSecret;
use service::Router;

/// Length of the random name of a process in bytes.
const INSTANCE_BYTES: usize = 16;

/// The part of a node that this module describes. It exists before the node has a place in a cluster.
pub(crate) struct Part {
    introducer: Introducer,
    dialer: Dialer,
    router: Router,
    me: Label,
    /// Voters that the cluster makes by itself.
    voters_wanted: usize,
    never_votes: bool,
    release: Release,
}

/// What this part shares with the others.
pub(crate) struct Context {
    pub(crate) place: Arc<OnceLock<Place>>,
    pub(crate) raft: watch::Receiver<Option<Raft>>,
    pub(crate) nodes: watch::Receiver<Arc<Nodes>>,
    pub(crate) channels: Channels,
    pub(crate) proposals: Pause,
    pub(crate) release: Release,
}

impl Part {
    /// The part of a node with this name and these settings.
    pub(crate) fn new(node_name: &str, settings: &PeerSettings, context: Context) -> Part {
        let me = Label { name: node_name.to_owned(), address: settings.advertise.clone() };
        let secret = JoinSecret::new(settings.join_secret.clone());
        let dialer = Dialer::new(context.channels.source(), secret.clone());
        let introducer = Introducer::new(
            secret,
            Myself {
                label: me.clone(),
                instance: proof::random(INSTANCE_BYTES),
                expect_voters: settings.expect_voters,
                never_votes: settings.never_votes,
                join: settings.join.clone(),
            },
        );
        let release = context.release.clone();
        let router = Router::new(Arc::new(Changer::new(context)));
        introducer.set_host(Arc::new(router.clone()));
        let PeerSettings { expect_voters, voters, never_votes, .. } = *settings;
        let voters_wanted = rules::voters_wanted(expect_voters, voters);
        Part { introducer, dialer, router, me, voters_wanted, never_votes, release }
    }

    /// Adds the services of this part to those of the peer listener.
    pub(crate) fn add_services(&self, routes: Routes) -> Routes {
        routes.add_service(self.introducer.service()).add_service(self.router.service())
    }

    /// Waits until this node has found or founded its cluster.
    ///
    /// # Errors
    /// When the data directory cannot be written, or no key can be made.
    pub(crate) async fn obtain_identity(&self, data_dir: &Path) -> Result<Credentials, StartError> {
        obtain::obtain_identity(&self.introducer, &self.dialer, data_dir, &self.release).await
    }

    /// Keeps the membership in order; runs until it is aborted, beside a Raft core.
    pub(crate) fn controller(&self) -> impl Future<Output = ()> + Send + use<> {
        let me = Peer {
            name: self.me.name.clone(),
            address: self.me.address.clone(),
            never_votes: self.never_votes,
        };
        controller::run(self.router.clone(), me, self.voters_wanted)
    }

    /// Takes changes that operators ask for.
    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}

/// What a change that was made leaves to be said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// What the operator should know although the change was made.
    pub warning: Option<String>,
}

/// Why a change of the membership was not made, or not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// A rule forbids it. Nothing was changed.
    #[error("refused: {reason}")]
    Refused {
        /// The rule.
        reason: String,
    },
    /// There is no leader, it cannot be reached, or it could not complete the change in time; the reason says
    /// whether the change may still take effect.
    #[error("not possible now: {reason}")]
    Unavailable {
        /// What is in the way.
        reason: String,
    },
}

#[cfg(test)]
mod tests;
