//! What a node has once it has a place in a cluster: identifier, certificates, snapshots. A node that is still looking for one
//! runs without.

use std::sync::Arc;

use crate::error::StartError;
use crate::identity::{DataDir, Identity};
use crate::link::Equipment;
use crate::membership;
use crate::nodes::FOUNDER_NODE_ID;
use crate::pki::{Credentials, PeerIdentity, PkiError};
use crate::proposer::Origin;
use crate::replica::Replica;
use crate::snapshot::format::Verified;
use crate::snapshot::store::SnapshotStore;
use crate::supervisor::Shared;

/// A node's place in its cluster. It is set once and stays.
pub(crate) struct Place {
    pub(crate) cluster_id: String,
    pub(crate) origin: Origin,
    pub(crate) snapshots: Arc<SnapshotStore>,
    /// `None` on a node that runs alone.
    pub(crate) credentials: Option<Credentials>,
}

/// Makes the identity of a node that got its place just now, and puts it on disk together with its certificates. After a
/// crash in between, the node begins anew.
pub(crate) fn settle(data_dir: &DataDir, credentials: &Credentials) -> Result<Identity, StartError> {
    credentials.save(&data_dir.path)?;
    let PeerIdentity { cluster_id, node_id } = credentials.identity();
    let mut identity = Identity::new(cluster_id, *node_id);
    identity.certified = true;
    data_dir.save_identity(&identity)?;
    membership::request::discard(&data_dir.path)?;
    Ok(identity)
}

/// Gives the node its place: restores the newest snapshot into the replica and lets certificates take effect. Blocks on disk.
pub(crate) fn take<R: Replica>(
    shared: &Shared<R>,
    identity: &Identity,
    credentials: Option<Credentials>,
) -> Result<(), StartError> {
    let Identity { cluster_id, node_id, incarnation, initialized, .. } = identity;
    let (snapshots, newest) =
        SnapshotStore::open(&shared.options.data_dir, cluster_id, *node_id, Arc::clone(&shared.guard))?;
    if let Some(credentials) = &credentials {
        let tls = crate::pki::tls::member_client(credentials).map_err(unusable(shared))?;
        shared.channels.set_identity(tls);
    }
    shared.admission.set_cluster(cluster_id);
    shared.initialized.store(*initialized, std::sync::atomic::Ordering::Relaxed);
    let place = Place {
        cluster_id: cluster_id.clone(),
        origin: Origin { node_id: *node_id, incarnation: *incarnation },
        snapshots: Arc::new(snapshots),
        credentials,
    };
    if shared.place.set(place).is_err() {
        return Err(StartError::Raft { reason: "the node has a place in a cluster already".to_owned() });
    }
    shared.publish_place();
    start_links(shared, *node_id);
    restore(shared, newest)
}

fn start_links<R: Replica>(shared: &Shared<R>, node_id: u64) {
    shared.links.start(Equipment {
        own_id: node_id,
        release: shared.options.release.clone(),
        format: shared.machine.format(),
        channels: shared.channels.clone(),
        effects: Arc::clone(&shared.effects),
        barrier: shared.barrier.clone(),
        service: Arc::clone(&shared.service),
    });
}

fn restore<R: Replica>(shared: &Shared<R>, newest: Option<Verified>) -> Result<(), StartError> {
    let (Some(newest), Some(path)) = (newest, shared.place().snapshots.current_path()) else { return Ok(()) };
    shared.machine.restore(&newest, None).map_err(|source| StartError::Restore { path, source })
}

/// The certificates of a node that has an identity. A node that ran alone so far gets its cluster's authority now.
pub(crate) fn open_credentials(
    data_dir: &DataDir,
    identity: &mut Identity,
) -> Result<Credentials, StartError> {
    let invalid = |rule: String| StartError::CredentialsInvalid { path: data_dir.path.join("peer"), rule };
    let of_identity = PeerIdentity { cluster_id: identity.cluster_id.clone(), node_id: identity.node_id };
    let credentials = match Credentials::load(&data_dir.path)? {
        Some(credentials) if *credentials.identity() == of_identity => credentials,
        Some(credentials) => {
            let found = credentials.identity().uri();
            return Err(invalid(format!(
                "they must be those of {} (are those of {found})",
                of_identity.uri()
            )));
        }
        None if identity.certified || identity.node_id != FOUNDER_NODE_ID => {
            return Err(invalid("they must exist on a member of a cluster".to_owned()));
        }
        None => {
            let credentials = Credentials::found(&of_identity).map_err(|error| invalid(error.to_string()))?;
            credentials.save(&data_dir.path)?;
            credentials
        }
    };
    if !identity.certified {
        identity.certified = true;
        data_dir.save_identity(identity)?;
    }
    Ok(credentials)
}

/// Turns an error about certificates into one about this node's files.
pub(crate) fn unusable<R: Replica>(shared: &Shared<R>) -> impl Fn(PkiError) -> StartError {
    let path = shared.options.data_dir.join("peer");
    move |error| StartError::CredentialsInvalid { path: path.clone(), rule: error.to_string() }
}
