//! Backups that cannot be finished.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use rookery_harness::cluster::disk::SmallDisk;
use rookery_harness::fixture::{Fixture, Role};
use rookery_harness::janitor;
use rookery_harness::node::Node;
use rookery_harness::runtime::run;

use super::{BINARY, bare, failed};

/// Of a stored message.
const PAYLOAD_BYTES: usize = 200_000;
/// Stored messages: the backup is some 4 MB.
const MESSAGES: usize = 20;

/// A node with a backup of some size.
fn node_with_messages() -> Node {
    let node = Node::start(BINARY);
    run(async {
        let fixture = Fixture::create(&node).await;
        let device = fixture.entity(Role::D1);
        for number in 0..MESSAGES {
            let topic = format!("$devices/{}/state/{number}", device.id());
            fixture.api.publish(device, &topic, &vec![7; PAYLOAD_BYTES]).await.expect("it is stored");
        }
    });
    node
}

fn create(node: &Node, endpoint: SocketAddr) -> Command {
    let mut command = bare(&["backup", "create", "--retry", "1"]);
    command.env("ROOKERY_ENDPOINT", endpoint.to_string()).env("ROOKERY_DATA_DIR", node.data_directory());
    command
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it can be read");
    entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// Passes one connection on, and cuts it off after so many bytes to the client.
fn relay(target: SocketAddr, bytes_max: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(target)) else { return };
            let upstream = (client.try_clone().expect("it is open"), server.try_clone().expect("it is open"));
            thread::spawn(move || std::io::copy(&mut &upstream.0, &mut &upstream.1));
            let mut left = bytes_max;
            let mut buffer = vec![0; 16 * 1024];
            while left > 0 {
                let length = buffer.len().min(left);
                match (&server).read(&mut buffer[..length]) {
                    Ok(read @ 1..) if (&client).write_all(&buffer[..read]).is_ok() => left -= read,
                    _ => break,
                }
            }
            // Either side may have gone already.
            let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
        }
    });
    address
}

#[test]
fn a_backup_that_is_cut_off_leaves_nothing_behind() {
    let node = node_with_messages();
    let directory = janitor::new_directory("cut-");
    let through = relay(node.address("api"), MESSAGES * PAYLOAD_BYTES / 2);
    let cut = create(&node, through).arg(directory.join("backup")).output().expect("the program starts");
    let error = failed(&cut);
    assert!(!error.contains("panicked"), "{error}");
    assert_eq!(files(&directory), Vec::<String>::new(), "{error}");
    let whole = create(&node, node.address("api")).arg(directory.join("backup")).output();
    assert!(whole.is_ok_and(|output| output.status.success()));
    assert_eq!(files(&directory), ["backup"]);
}

#[test]
fn a_disk_that_is_full_while_a_backup_is_sealed_leaves_nothing_behind() {
    // Room for the backup, and not for a second, sealed copy beside it.
    let Some(disk) = SmallDisk::mount(6) else {
        eprintln!("not tested: file systems may not be mounted here");
        return;
    };
    let node = node_with_messages();
    let key = janitor::new_directory("key-").join("key");
    fs::write(&key, "a key of more than thirty-two characters").expect("it can be written");
    let seal = |target: &Path| {
        let output = create(&node, node.address("api")).arg(target).arg("--key-file").arg(&key).output();
        output.expect("the program starts")
    };
    let error = failed(&seal(&disk.path().join("backup")));
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(files(disk.path()), Vec::<String>::new(), "{error}");
    let elsewhere = janitor::new_directory("sealed-").join("backup");
    assert!(seal(&elsewhere).status.success());
}
