//! Faults between nodes, whichever way they are made.

use std::{env, net::IpAddr, sync::OnceLock, time::Duration};

use super::{namespaces::Namespaces, proxy::Proxy};

/// Chooses the way for all clusters of a test run: `netns` or `proxy`.
pub const VARIABLE: &str = "ROOKERY_CLUSTER_NETWORK";

/// How nodes are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each node in a network namespace of its own. Needs root on Linux. Packets are lost, as on a broken wire.
    Namespaces,
    /// All peer connections go through a process-wide relay, which can also delay. Works everywhere.
    Proxy,
}

impl Way {
    /// What the environment asks for, otherwise namespaces where they work, otherwise the proxy.
    pub fn of_nature() -> Self {
        Self::asked().unwrap_or_else(|| if works_with_namespaces() { Self::Namespaces } else { Self::Proxy })
    }

    /// What the environment asks for, otherwise the proxy.
    pub fn of_choice() -> Self {
        Self::asked().unwrap_or(Self::Proxy)
    }

    fn asked() -> Option<Self> {
        match env::var(VARIABLE).ok()?.as_str() {
            "netns" => Some(Self::Namespaces),
            "proxy" => Some(Self::Proxy),
            other => panic!("{VARIABLE} must be netns or proxy (got {other})"),
        }
    }
}

/// Whether this process may make network namespaces that it can reach. Tried once.
fn works_with_namespaces() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| match Namespaces::probe() {
        Ok(()) => true,
        Err(error) => {
            eprintln!("no network namespaces here, peers go through the proxy: {error}");
            false
        }
    })
}

/// How much later bytes arrive: `fixed` and a random part of `random`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// Added to everything.
    pub fixed: Duration,
    /// At most so much more, evenly distributed.
    pub random: Duration,
}

/// The network between the nodes of one cluster. Nodes are numbered from 0.
pub enum Network {
    /// See [`Way::Namespaces`].
    Namespaces(Namespaces),
    /// See [`Way::Proxy`].
    Proxy(Proxy),
}

impl Network {
    /// A network without faults for up to `places` nodes.
    pub fn new(way: Way, places: usize) -> Self {
        match way {
            Way::Namespaces => {
                Self::Namespaces(Namespaces::new(places).expect("the probe has made namespaces before"))
            }
            Way::Proxy => Self::Proxy(Proxy::new(places)),
        }
    }

    /// Nothing sent by `from` arrives at `to` until it is healed. Connections stay open.
    pub fn cut(&self, from: usize, to: usize) {
        match self {
            Self::Namespaces(namespaces) => namespaces.cut(from, to),
            Self::Proxy(proxy) => proxy.change(|table| table.pair(from, to).cut = true),
        }
    }

    /// Cuts both directions.
    pub fn cut_both(&self, a: usize, b: usize) {
        self.cut(a, b);
        self.cut(b, a);
    }

    /// Cuts every node of `group` from every other node.
    pub fn isolate(&self, group: &[usize]) {
        for &inside in group {
            for outside in (0..self.places()).filter(|place| !group.contains(place)) {
                self.cut_both(inside, outside);
            }
        }
    }

    /// Ends the fault from `from` to `to`.
    pub fn heal(&self, from: usize, to: usize) {
        match self {
            Self::Namespaces(namespaces) => namespaces.heal(from, to),
            Self::Proxy(proxy) => proxy.change(|table| *table.pair(from, to) = Default::default()),
        }
    }

    /// Ends all faults and delays.
    pub fn heal_all(&self) {
        match self {
            Self::Namespaces(namespaces) => namespaces.heal_all(),
            Self::Proxy(proxy) => proxy.change(|table| table.clear()),
        }
    }

    /// Ends all connections from `from` to `to` and refuses new ones. Only the proxy can; says whether it does.
    pub fn refuse(&self, from: usize, to: usize) -> bool {
        match self {
            Self::Namespaces(_) => false,
            Self::Proxy(proxy) => {
                proxy.change(|table| table.pair(from, to).refuse = true);
                true
            }
        }
    }

    /// Delays everything between nodes. Only the proxy can; says whether it does.
    pub fn delay(&self, delay: Delay) -> bool {
        match self {
            Self::Namespaces(_) => false,
            Self::Proxy(proxy) => {
                proxy.change(|table| table.delay = delay);
                true
            }
        }
    }

    /// How many nodes there is room for.
    pub fn places(&self) -> usize {
        match self {
            Self::Namespaces(namespaces) => namespaces.places(),
            Self::Proxy(proxy) => proxy.places(),
        }
    }

    /// Command through which programs of a node are started.
    pub fn through(&self, node: usize) -> Vec<String> {
        match self {
            Self::Namespaces(namespaces) => namespaces.through(node),
            Self::Proxy(_) => Vec::new(),
        }
    }

    /// Address of the node's listeners for clients.
    pub fn host(&self, node: usize) -> IpAddr {
        match self {
            Self::Namespaces(namespaces) => namespaces.address(node).into(),
            Self::Proxy(_) => IpAddr::from([127, 0, 0, 1]),
        }
    }

    /// Address of the node's listener for peers.
    pub fn peer_listener(&self, node: usize) -> String {
        match self {
            Self::Namespaces(namespaces) => format!("{}:{}", namespaces.address(node), super::PEER_PORT),
            Self::Proxy(proxy) => proxy.target(node).to_string(),
        }
    }

    /// Address that peers dial to reach the node.
    pub fn advertised(&self, node: usize) -> String {
        match self {
            Self::Namespaces(_) => self.peer_listener(node),
            Self::Proxy(proxy) => proxy.door(node).to_string(),
        }
    }
}
