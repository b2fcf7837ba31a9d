//! A network that can be cut between two nodes, in one direction: each node is reached through a proxy, which knows the
//! caller by the address that it calls from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

type Cuts = BTreeSet<(u64, u64)>;

/// The proxies before all nodes.
pub(super) struct Proxies {
    cuts: watch::Sender<Cuts>,
    addresses: BTreeMap<u64, SocketAddr>,
}

/// Where a node listens, and from where it calls.
pub(super) fn home(node_id: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(127, 0, 1, node_id as u8))
}

impl Proxies {
    /// A proxy before each of the nodes, which listen at these addresses.
    pub(super) async fn before(nodes: &BTreeMap<u64, SocketAddr>) -> Proxies {
        let cuts = watch::channel(Cuts::new()).0;
        let mut addresses = BTreeMap::new();
        for (node_id, target) in nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            addresses.insert(*node_id, listener.local_addr().unwrap());
            tokio::spawn(serve(listener, *node_id, *target, cuts.subscribe()));
        }
        Proxies { cuts, addresses }
    }

    /// Where the node is reached.
    pub(super) fn address(&self, node_id: u64) -> String {
        self.addresses[&node_id].to_string()
    }

    /// Calls of `from` get nowhere near `to`, not even those under way. The other direction is not affected.
    pub(super) fn cut(&self, from: u64, to: u64) {
        self.cuts.send_if_modified(|cuts| cuts.insert((from, to)));
    }

    /// Nobody hears the node, and it hears nobody.
    pub(super) fn isolate(&self, node_id: u64) {
        for other in self.addresses.keys().filter(|other| **other != node_id) {
            self.cut(node_id, *other);
            self.cut(*other, node_id);
        }
    }

    /// Everybody reaches everybody again.
    pub(super) fn heal(&self) {
        self.cuts.send_replace(Cuts::new());
    }
}

async fn serve(listener: TcpListener, node_id: u64, target: SocketAddr, cuts: watch::Receiver<Cuts>) {
    while let Ok((mut caller, from)) = listener.accept().await {
        let mut cuts = cuts.clone();
        tokio::spawn(async move {
            let IpAddr::V4(from) = from.ip() else { return };
            let way = (u64::from(from.octets()[3]), node_id);
            if !cuts.borrow_and_update().contains(&way)
                && let Ok(mut called) = TcpStream::connect(target).await
            {
                tokio::select! {
                    _ended = copy_bidirectional(&mut caller, &mut called) => return,
                    _cut = cuts.wait_for(|cuts| cuts.contains(&way)) => {}
                }
                // Kept open: a cut cable closes no connection.
                let _healed = cuts.wait_for(|cuts| !cuts.contains(&way)).await;
                return;
            }
            let _healed = cuts.wait_for(|cuts| !cuts.contains(&way)).await;
        });
    }
}
