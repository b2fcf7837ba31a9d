//! Who must not get in.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
};

use rookery_harness::{
    cluster::{Cluster, Options, name, network::Way},
    janitor, ops,
    runtime::{WAIT, run},
};

use super::{on_own_nodes, site::Site};

#[test]
fn a39_strangers_do_not_get_into_the_cluster() {
    on_own_nodes(Options::three(Way::of_choice()), |cluster| {
        wrong_secret(cluster);
        garbage(cluster);
        let members = ids(cluster);
        assert_eq!(members.len(), 3, "nobody has joined");
        run(async { Site::create(cluster).await.is_whole().await });
        empty_disk_under_an_old_name(cluster);
    });
}

/// A node with another join secret stays outside, and says so.
fn wrong_secret(cluster: &Cluster) {
    let secret = janitor::new_directory("secret-").join("wrong.secret");
    fs::write(&secret, "not-the-secret-of-this-cluster").expect("the file can be written");
    let secret = secret.display().to_string();
    let stranger = cluster.add(&["--join", &cluster.network().advertised(0), "--join-secret-file", &secret]);
    let process = cluster.node(stranger);
    let line = process.log().wait_for(|line| line.to_lowercase().contains("secret"));
    assert!(line.is_some(), "the log says why the node does not join:\n{}", process.log().tail(20));
    if process.is_running() {
        process.wait_until_listening();
        assert_eq!(ops::get(&process, "/readyz").0, 503);
    }
    cluster.kill(stranger);
    assert!(!process.log().all().join("\n").contains("not-the-secret"), "no secret is logged");
}

/// Bytes that are no TLS. Whom the listener refuses by certificate is tested where the listener is, in the package
/// `cluster`.
fn garbage(cluster: &Cluster) {
    let address = cluster.network().advertised(0);
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0; 1000]] {
        let mut stream = TcpStream::connect(&address).expect("the listener accepts connections");
        stream.set_read_timeout(Some(WAIT)).expect("a timeout can be set");
        // The server may have closed already; in any case it says nothing but that it closes.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 100, "a TLS alert at most: {answer:?}");
    }
}

/// The old identifier died with the disk: the node comes back under its name as somebody new.
fn empty_disk_under_an_old_name(cluster: &Cluster) {
    let before = ids(cluster);
    cluster.stop(2);
    let directory = cluster.node(2).data_directory().to_path_buf();
    fs::remove_dir_all(&directory).expect("the data directory is removed");
    cluster.restart(2);
    cluster.wait_until_ready(2);
    let mut after = Vec::new();
    cluster.wait_until("the new node replaces the old one", || {
        after = ids(cluster);
        after.iter().filter(|(node, _)| *node == name(2)).count() == 1 && after.len() == 3
    });
    let id = |members: &[(String, u64)]| members.iter().find(|(node, _)| *node == name(2)).map(|(_, id)| *id);
    assert_ne!(id(&before), id(&after), "an identifier is not used again");
    run(async { Site::create(cluster).await.is_whole().await });
}

fn ids(cluster: &Cluster) -> Vec<(String, u64)> {
    let status = cluster.status(0).expect("the node answers");
    status.nodes.into_iter().map(|node| (node.name, node.id)).collect()
}
