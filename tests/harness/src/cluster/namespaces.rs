//! Each node in a network namespace of its own, all on one bridge that this process is on, too.
//!
//! A cut is a wrong link address of the receiver in the sender's neighbour table: packets leave and nobody takes
//! them. A blackhole route would be no silent loss, because the kernel tells the sender at once.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::{Command, id},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::janitor;

/// First words of the names that this process gives. The process id follows, so that leftovers can be told.
const NAMESPACE: &str = "rookery-";
const BRIDGE: &str = "rkb";
const PORT: &str = "rkv";

/// Networks of 32 addresses in 198.18.0.0/15, which is reserved for tests of networks.
const NETWORKS: u32 = 4096;
const NETWORK_BASE: u32 = 0xc612_0000;
const NETWORK_SIZE: u32 = 32;

/// Last place of a network is the bridge; its broadcast address is behind it.
const BRIDGE_PLACE: u32 = 30;

/// The link address that nobody has.
const NOBODY: &str = "02:00:00:00:00:01";

/// Namespaces with their bridge; deleted when dropped, or when the process ends.
pub struct Namespaces {
    serial: u32,
    places: usize,
}

impl Namespaces {
    /// Makes them.
    ///
    /// # Errors
    /// What the `ip` command complains about.
    pub fn new(places: usize) -> Result<Self, String> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        assert!(places < BRIDGE_PLACE as usize, "a network has room for 29 nodes");
        let this = Self { serial: SERIAL.fetch_add(1, Ordering::Relaxed), places };
        if this.serial == 0 {
            delete_leftovers();
        }
        let bridge = this.bridge();
        janitor::guard_bridge(&bridge);
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("addr add {}/27 dev {bridge}", this.at(BRIDGE_PLACE)))?;
        ip(&format!("link set {bridge} up"))?;
        for node in 0..places {
            let (namespace, port) = (this.namespace(node), format!("{PORT}{}-{}-{node}", id(), this.serial));
            janitor::guard_namespace(&namespace);
            ip(&format!("netns add {namespace}"))?;
            ip(&format!("link add {port} type veth peer name eth0 netns {namespace}"))?;
            ip(&format!("link set {port} master {bridge} up"))?;
            ip(&format!("-n {namespace} addr add {}/27 dev eth0", this.address(node)))?;
            ip(&format!("-n {namespace} link set eth0 up"))?;
            ip(&format!("-n {namespace} link set lo up"))?;
        }
        Ok(this)
    }

    /// Tries whether a namespace can be made and reached.
    ///
    /// # Errors
    /// Says what failed.
    pub fn probe() -> Result<(), String> {
        let namespaces = Self::new(1)?;
        let address = SocketAddr::new(namespaces.address(0).into(), super::PEER_PORT);
        match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            other => return Err(format!("{address} should refuse a connection: {other:?}")),
        }
        let status = Command::new("nsenter").args(&namespaces.through(0)[1..]).arg("true").status();
        match status {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("nsenter: {other:?}")),
        }
    }

    /// How many nodes there is room for.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Address of a node.
    pub fn address(&self, node: usize) -> Ipv4Addr {
        self.at(u32::try_from(node).expect("a small number") + 1)
    }

    /// Command through which the node's programs are started.
    pub fn through(&self, node: usize) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.namespace(node))]
    }

    /// Nothing that `from` sends arrives at `to`.
    pub fn cut(&self, from: usize, to: usize) {
        let (namespace, address) = (self.namespace(from), self.address(to));
        ip(&format!("-n {namespace} neigh replace {address} lladdr {NOBODY} nud permanent dev eth0"))
            .expect("a neighbour entry can be made");
    }

    /// Ends [`Namespaces::cut`].
    pub fn heal(&self, from: usize, to: usize) {
        // There is no entry where nothing was cut.
        let _ = ip(&format!("-n {} neigh del {} dev eth0", self.namespace(from), self.address(to)));
    }

    /// Ends all cuts.
    pub fn heal_all(&self) {
        for node in 0..self.places {
            ip(&format!("-n {} neigh flush nud permanent dev eth0", self.namespace(node)))
                .expect("neighbour entries can be removed");
        }
    }

    fn at(&self, place: u32) -> Ipv4Addr {
        let network = id().wrapping_mul(37).wrapping_add(self.serial) % NETWORKS;
        Ipv4Addr::from(NETWORK_BASE + network * NETWORK_SIZE + place)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{NAMESPACE}{}-{}-{node}", id(), self.serial)
    }

    fn bridge(&self) -> String {
        format!("{BRIDGE}{}-{}", id(), self.serial)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // What fails here is left to the janitor and to the next run.
        for node in 0..self.places {
            let _ = ip(&format!("netns delete {}", self.namespace(node)));
        }
        let _ = ip(&format!("link delete {}", self.bridge()));
    }
}

/// Deletes what runs have left whose janitor was killed as well.
fn delete_leftovers() {
    let lines = |arguments: &str| ip(arguments).unwrap_or_default();
    for line in lines("netns list").lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if is_leftover(name, NAMESPACE) {
            let _ = ip(&format!("netns delete {name}"));
        }
    }
    for line in lines("-o link show type bridge").lines() {
        let name = line.split_whitespace().nth(1).unwrap_or_default().trim_end_matches(':');
        if is_leftover(name, BRIDGE) {
            let _ = ip(&format!("link delete {name}"));
        }
    }
}

/// Whether a name carries the id of a process that is gone.
fn is_leftover(name: &str, prefix: &str) -> bool {
    let owner = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
    let owner = owner.and_then(|owner| owner.parse::<u32>().ok());
    owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists())
}

fn ip(arguments: &str) -> Result<String, String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("the ip command: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_dead_processes_are_leftovers() {
        assert!(is_leftover("rookery-4194305-0-1", NAMESPACE));
        assert!(!is_leftover(&format!("rookery-{}-0-1", id()), NAMESPACE));
        for name in ["docker0", "rookery-", "rookery-x-1", "rkb"] {
            assert!(!is_leftover(name, NAMESPACE), "{name}");
        }
    }

    /// What a node's attempt to dial another comes to: `1` refused, `124` no answer.
    fn dial(namespaces: &Namespaces, from: usize, to: usize) -> Option<i32> {
        let through = namespaces.through(from);
        let script = format!("exec 3<>/dev/tcp/{}/1", namespaces.address(to));
        let status = Command::new(&through[0])
            .args(&through[1..])
            .args(["timeout", "1", "bash", "-c", &script])
            .stderr(std::process::Stdio::null())
            .status();
        status.unwrap().code()
    }

    #[test]
    fn a_cut_separates_one_pair_until_it_is_healed() {
        if let Err(error) = Namespaces::probe() {
            eprintln!("not checked: {error}");
            return;
        }
        let namespaces = Namespaces::new(3).unwrap();
        assert_eq!(dial(&namespaces, 0, 1), Some(1));
        namespaces.cut(0, 1);
        assert_eq!(dial(&namespaces, 0, 1), Some(124));
        assert_eq!(dial(&namespaces, 0, 2), Some(1));
        assert_eq!(dial(&namespaces, 2, 1), Some(1));
        namespaces.heal(0, 1);
        assert_eq!(dial(&namespaces, 0, 1), Some(1));
        namespaces.cut(1, 0);
        assert_eq!(dial(&namespaces, 0, 1), Some(124), "the answer is lost");
        namespaces.heal_all();
        assert_eq!(dial(&namespaces, 0, 1), Some(1));
    }
}
