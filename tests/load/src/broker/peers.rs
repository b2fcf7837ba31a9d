//! The brokers of others, with fair settings: nothing written to disk, no limits that Rookery does not have, no delay of
//! small packets.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::tls::authority::Authority;

use super::node::{Listeners, Node, free_port};

/// What one of them is started with.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// For its files.
    pub(super) directory: &'a Path,
    /// Has signed its certificate.
    pub(super) authority: &'a Authority,
    /// Whether clients over TLS must show a certificate.
    pub(super) certificates: bool,
}

/// Starts Mosquitto.
pub(super) fn mosquitto(mut command: Command, place: Place<'_>) -> anyhow::Result<Node> {
    let listeners = listeners()?;
    let path = place.directory.join("mosquitto.conf");
    fs::write(&path, mosquitto_configuration(&listeners, place))?;
    command.arg("-c").arg(path);
    Node::spawn("mosquitto", command, place.directory)?.wait_until_listening(Some(&listeners))
}

/// Starts RMQTT.
pub(super) fn rmqtt(mut command: Command, place: Place<'_>) -> anyhow::Result<Node> {
    let listeners = listeners()?;
    let path = place.directory.join("rmqtt.toml");
    fs::write(&path, rmqtt_configuration(&listeners, free_port()?, place))?;
    command.arg("-f").arg(path).current_dir(place.directory);
    Node::spawn("rmqttd", command, place.directory)?.wait_until_listening(Some(&listeners))
}

fn listeners() -> anyhow::Result<Listeners> {
    Ok(Listeners::new([("mqtt", free_port()?), ("mqtts", free_port()?)]))
}

fn port(listeners: &Listeners, name: &str) -> u16 {
    listeners.get(name).map_or(0, |address| address.port())
}

fn mosquitto_configuration(listeners: &Listeners, place: Place<'_>) -> String {
    let Place { authority, certificates, .. } = place;
    let certificates = match certificates {
        false => String::new(),
        true => format!("cafile {}\nrequire_certificate true\n", authority.certificate.display()),
    };
    format!(
        "user root\nper_listener_settings false\nallow_anonymous true\npersistence false\nlog_type none\n\
         max_inflight_messages 100\nmax_queued_messages 0\nmax_queued_bytes 0\nset_tcp_nodelay true\n\
         listener {} 127.0.0.1\n\
         listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n{certificates}",
        port(listeners, "mqtt"),
        port(listeners, "mqtts"),
        authority.server_certificate.display(),
        authority.server_key.display()
    )
}

/// No plug-ins; by default it would ask one for every publish, and send each client 1,000 messages per second.
fn rmqtt_configuration(listeners: &Listeners, rpc: SocketAddr, place: Place<'_>) -> String {
    let Place { authority, certificates, directory } = place;
    let listener = |kind: &str, port: u16| {
        format!(
            "[listener.{kind}.external]\naddr = \"127.0.0.1:{port}\"\nallow_anonymous = true\nnodelay = true\n\
             max_connections = 1000000\nmax_handshaking_limit = 5000\nmin_keepalive = 0\nallow_zero_keepalive = true\n\
             max_inflight = 100\nmax_mqueue_len = 100000\nmqueue_rate_limit = \"4294967295,1s\"\n"
        )
    };
    let certificates = match certificates {
        false => String::new(),
        true => {
            format!("cross_certificate = true\nclient_ca_certs = \"{}\"\n", authority.certificate.display())
        }
    };
    format!(
        "node.id = 1\nrpc.server_addr = \"{rpc}\"\nlog.to = \"off\"\n\
         plugins.dir = \"{}\"\nplugins.disabled_default_startups = [\"rmqtt-acl\", \"rmqtt-http-api\"]\n{}{}cert = \"{}\"\nkey = \"{}\"\n{certificates}",
        directory.display(),
        listener("tcp", port(listeners, "mqtt")),
        listener("tls", port(listeners, "mqtts")),
        authority.server_certificate.display(),
        authority.server_key.display()
    )
}
