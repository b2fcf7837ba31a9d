//! Who must not get in.

use std::{fs, io::Write as _, net::TcpStream};

use rookery_harness::{
    certificates,
    cluster::{Cluster, Options, name, network::Way},
    janitor, ops,
    runtime::run,
    tls::TlsOptions,
    wire::Wire,
};

use super::{on_own_nodes, site::Site};

#[test]
fn a39_strangers_do_not_get_into_the_cluster() {
    on_own_nodes(Options::three(Way::of_choice()), |cluster| {
        wrong_secret(cluster);
        garbage_and_foreign_certificates(cluster);
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

/// Bytes that are no TLS, TLS without a certificate and with one that the cluster has not signed.
fn garbage_and_foreign_certificates(cluster: &Cluster) {
    let address = cluster.network().advertised(0).parse().expect("an address");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x16, 3, 1, 0xff, 0xff], &[0; 1000]] {
        if let Ok(mut stream) = TcpStream::connect(address) {
            // The server may have closed already.
            let _ = stream.write_all(bytes);
        }
    }
    run(async {
        let foreign = certificates::p256();
        for options in [TlsOptions::default(), TlsOptions::with(&foreign)] {
            // The server's certificate is of an authority that we do not know, ours of one that it does not know.
            let opened = Wire::tls(address, &foreign.pem, &options).await;
            assert!(opened.is_err(), "a stranger completes no handshake");
        }
    });
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
