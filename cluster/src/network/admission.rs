//! Who may call this node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Code, Request, Status};

use crate::pki::{PeerIdentity, SessionBinding};

/// How long the connections of a node that was removed stay, for answers under way.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What a removed node is answered. Part of the protocol between nodes: see [`says_removed`].
const REMOVED: &str = "the node was removed from the cluster";

/// Whether a member answered that the caller was removed. The connection has proved that it is a member of the cluster, and
/// what is committed about removals stays.
pub(crate) fn says_removed(status: &Status) -> bool {
    status.code() == Code::PermissionDenied && status.message() == REMOVED
}

/// What decides whether a node is heard; shared by the listener, its connections and the replicated state.
#[derive(Debug)]
pub(crate) struct Admission {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// This node's cluster, once it belongs to one.
    cluster_id: Option<String>,
    /// Raft identifiers that were removed.
    removed: BTreeSet<u64>,
    /// The node ends.
    closed: bool,
}

/// What is known about the connection that a call came over; in the extensions of every request.
#[derive(Debug, Clone)]
pub(crate) struct PeerInfo {
    /// Whom the client's certificate names; `None` if it came without one.
    pub(crate) identity: Option<PeerIdentity>,
    /// What only the two ends of the connection know.
    pub(crate) binding: SessionBinding,
    /// The other end.
    pub(crate) remote: SocketAddr,
    pub(crate) admission: Arc<Admission>,
}

/// The Raft identifier of the node that calls.
///
/// # Errors
/// `UNAUTHENTICATED` without a certificate; `PERMISSION_DENIED` for another cluster or a removed node.
pub(crate) fn authenticated<T>(request: &Request<T>) -> Result<u64, Status> {
    let info = request.extensions().get::<PeerInfo>();
    let identity = info.and_then(|info| Some((&info.admission, info.identity.as_ref()?)));
    let (admission, identity) =
        identity.ok_or_else(|| Status::unauthenticated("a certificate of this cluster is required"))?;
    admission.check(identity)?;
    Ok(identity.node_id)
}

impl Default for Admission {
    fn default() -> Admission {
        Admission { state: watch::channel(State::default()).0 }
    }
}

impl Admission {
    /// This node belongs to the cluster from now on.
    pub(crate) fn set_cluster(&self, cluster_id: &str) {
        self.state.send_modify(|state| state.cluster_id = Some(cluster_id.to_owned()));
    }

    /// The removed nodes have changed. Their connections end.
    pub(crate) fn set_removed(&self, removed: BTreeSet<u64>) {
        self.state.send_if_modified(|state| {
            let changed = state.removed != removed;
            state.removed = removed;
            changed
        });
    }

    /// Ends every connection.
    pub(crate) fn close(&self) {
        self.state.send_modify(|state| state.closed = true);
    }

    /// Whether calls of the node are heard.
    pub(crate) fn check(&self, identity: &PeerIdentity) -> Result<(), Status> {
        let state = self.state.borrow();
        if state.cluster_id.as_ref() != Some(&identity.cluster_id) {
            return Err(Status::permission_denied("the certificate is of another cluster"));
        }
        if state.removed.contains(&identity.node_id) {
            return Err(Status::permission_denied(REMOVED));
        }
        Ok(())
    }

    /// Resolves when a connection of `node_id` must end.
    pub(crate) fn until_refused(&self, node_id: Option<u64>) -> impl Future<Output = ()> + Send + use<> {
        let mut state = self.state.subscribe();
        async move {
            let refused = |state: &State| {
                state.closed || node_id.is_some_and(|node_id| state.removed.contains(&node_id))
            };
            // The listener is gone: that is an end as well.
            drop(state.wait_for(refused).await);
            // Further calls are refused at once; but one that is being answered may be about this very removal.
            drop(timeout(LAST_WORDS, state.wait_for(|state| state.closed)).await);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(admission: &Arc<Admission>, identity: Option<(&str, u64)>) -> Request<()> {
        let identity =
            identity.map(|(cluster_id, node_id)| PeerIdentity { cluster_id: cluster_id.to_owned(), node_id });
        let mut request = Request::new(());
        request.extensions_mut().insert(PeerInfo {
            identity,
            binding: [0; 32],
            remote: "127.0.0.1:1".parse().unwrap(),
            admission: Arc::clone(admission),
        });
        request
    }

    #[test]
    fn only_members_are_heard() {
        let admission = Arc::new(Admission::default());
        let code = |identity| authenticated(&request(&admission, identity)).map_err(|status| status.code());
        assert_eq!(code(Some(("c1", 2))), Err(Code::PermissionDenied), "this node has no cluster yet");
        admission.set_cluster("c1");
        assert_eq!(code(Some(("c1", 2))), Ok(2));
        assert_eq!(code(Some(("c2", 2))), Err(Code::PermissionDenied));
        assert_eq!(code(None), Err(Code::Unauthenticated));
        admission.set_removed(BTreeSet::from([2]));
        assert_eq!(code(Some(("c1", 2))), Err(Code::PermissionDenied));
        assert_eq!(code(Some(("c1", 3))), Ok(3));
        assert_eq!(authenticated(&Request::new(())).unwrap_err().code(), Code::Unauthenticated);
    }

    #[tokio::test]
    async fn the_connections_of_a_removed_node_end() {
        let admission = Admission::default();
        let (two, three) = (admission.until_refused(Some(2)), admission.until_refused(Some(3)));
        admission.set_removed(BTreeSet::from([2]));
        two.await;
        let three = tokio::spawn(three);
        assert!(!three.is_finished());
        admission.close();
        three.await.unwrap();
    }
}
