//! Where the metrics and health checks of the node come from (U-I9: ours, not those of the original).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::certificates::CertificateStanding;
use super::doors::Parts;
use crate::actors::environment::Environment;
use crate::actors::fence;
use crate::actors::forward::ForwardingCounters;
use crate::actors::lane::counters::CounterTotals;
use crate::actors::lane::{LaneHandle, Lanes};
use crate::actors::traffic::Traffic;
use crate::clock;
use crate::domain::principal::SpaceId;
use crate::net::listener::ListenerCounters;
use crate::observe::health::{Check, Checks};
use crate::observe::histogram::{Distribution, Histogram};
use crate::observe::metrics::{Family, Metrics, Sample, Value};
use crate::ops::Operations;
use crate::store::{NodeState, NodeStatus};
use crate::verify::password::PasswordVerifier;

/// A connection thread that has not moved for this long is taken for dead.
const LANE_SILENCE_MAX: Duration = Duration::from_secs(20);

/// Everything for the operations listener.
pub fn operations(
    parts: &Parts<'_>,
    listeners: Vec<(&'static str, Arc<ListenerCounters>)>,
    certificate: Arc<CertificateStanding>,
) -> Operations {
    let (lanes, all_lanes) = (parts.environment.lanes.clone(), parts.environment.lanes.clone());
    let forwarding = Arc::clone(&parts.environment.forwarding);
    let status = parts.store.status();
    let verifier = Arc::clone(parts.verifier);
    let sync_times = Arc::clone(parts.store.sync_times());
    let storage = move || {
        let mut samples = storage_samples(&status.borrow());
        samples.push(Sample::histogram(
            "log_sync_seconds",
            "Writes of the log that waited for the disk",
            sync_times.distribution(),
        ));
        samples
    };
    let passwords = move || password_samples(&verifier);
    let environment = Arc::clone(parts.environment);
    let for_traffic = Arc::clone(&environment);
    let spaces = move || space_samples(&environment);
    let sources: Vec<crate::observe::metrics::Source> = vec![
        Arc::new(move || {
            let mut samples = message_samples(&lanes);
            samples.extend(session_samples(&lanes));
            samples
        }),
        Arc::new(move || forwarding_samples(&all_lanes, &forwarding.counters)),
        Arc::new(move || listener_samples(&listeners)),
        Arc::new(storage),
        Arc::new(passwords),
        Arc::new(spaces),
        Arc::new(move || certificate.samples()),
    ];
    Operations {
        metrics: Metrics::new(sources, vec![Arc::new(move || traffic(&for_traffic))]),
        alive: Checks(vec![lanes_move(&parts.environment.lanes)]),
        ready: Checks(vec![
            lanes_move(&parts.environment.lanes),
            not_draining(parts.environment),
            has_joined(parts.environment),
            is_not_fenced(parts.environment),
            storage_serves(parts),
        ]),
    }
}

fn password_samples(verifier: &PasswordVerifier) -> Vec<Sample> {
    let (waiting, remembered) = (verifier.waiting() as u64, verifier.remembered() as u64);
    vec![
        Sample::gauge("password_checks_waiting", "Password checks that wait for a thread", waiting),
        Sample::gauge("passwords_remembered", "Credentials verified of late", remembered),
    ]
}

fn space_samples(environment: &Environment) -> Vec<Sample> {
    let spaces = environment.directory.spaces();
    let subscriptions: usize = spaces.iter().map(|space| space.subscriptions()).sum();
    vec![
        Sample::counter(
            "messages_not_stored",
            "Messages to permanent topics that could not be stored",
            environment.messages_not_stored.load(Ordering::Relaxed),
        ),
        Sample::counter(
            "connection_log_records_lost",
            "Records of the connection log that could not be written",
            environment.connection_log.lost(),
        ),
        Sample::histogram(
            "delivery_seconds",
            "From a PUBLISH to the socket of a subscriber of this node; of some messages",
            total(environment, |lane| &lane.delivery_times),
        ),
        Sample::histogram(
            "forward_seconds",
            "From shipping messages with QoS 1 to another node until it has taken them; of some",
            total(environment, |lane| &lane.forward_times),
        ),
        Sample::histogram(
            "subscribe_seconds",
            "From SUBSCRIBE to SUBACK, which waits for all nodes",
            environment.subscribe_times.distribution(),
        ),
        Sample::histogram(
            "commit_seconds",
            "Changes through the API, from proposal to applied",
            environment.catalog.commit_times().distribution(),
        ),
        Sample::gauge("topic_spaces", "Topic spaces in use", spaces.len() as u64),
        Sample::gauge("subscriptions", "Subscriptions of the whole cluster", subscriptions as u64),
        Sample::gauge(
            "serving",
            "1 while the node may serve clients",
            u64::from(environment.lease.is_valid()),
        ),
        Sample::gauge(
            "sessions_closing",
            "Sessions that have ended and of which the log does not know it yet",
            environment.tenures.closing_count() as u64,
        ),
    ]
}

/// The times of all lanes.
fn total(environment: &Environment, times: impl Fn(&LaneHandle) -> &Histogram) -> Distribution {
    let lanes = environment.lanes.iter().map(|lane| times(lane).distribution());
    lanes.fold(Histogram::default().distribution(), Distribution::plus)
}

/// Of each registry and broker, under the names of the original where it has them (U-I9).
fn traffic(environment: &Environment) -> Vec<Family> {
    let mut families = TRAFFIC.map(|(name, help, _)| Family { name, help, values: Vec::new() });
    let mut spaces = environment.directory.spaces();
    // The same ones at every scrape.
    spaces.sort_unstable_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    for space in spaces.iter().take(SPACES_MAX) {
        let (first, label, id) = match &space.id {
            SpaceId::Registry(id) => (0, "registry", id.as_str()),
            SpaceId::Broker(id) => (1, "broker", id.as_str()),
        };
        for number in (first..TRAFFIC.len()).step_by(2) {
            let labels = vec![("service", "iot-core".to_owned()), (label, id.to_owned())];
            families[number].values.push((labels, (TRAFFIC[number].2)(&space.traffic)));
        }
    }
    families.into()
}

/// Series of more registries and brokers than this are left out: a scrape must stay small.
const SPACES_MAX: usize = 10_000;

/// How a number of a space is read.
type Reading = fn(&Traffic) -> Value;

/// Of registries and brokers by turns.
const TRAFFIC: [(&str, &str, Reading); 6] = [
    ("iot_registry_connections", "Connections of the registry and its devices", connections),
    ("iot_broker_connections", "Connections of the broker", connections),
    ("iot_registry_received_bytes", "Received from clients of the registry", received_bytes),
    ("iot_broker_received_bytes", "Received from clients of the broker", received_bytes),
    ("iot_registry_sent_bytes", "Sent to clients of the registry", sent_bytes),
    ("iot_broker_sent_bytes", "Sent to clients of the broker", sent_bytes),
];

fn connections(traffic: &Traffic) -> Value {
    Value::Gauge(traffic.connections())
}

fn received_bytes(traffic: &Traffic) -> Value {
    Value::Counter(traffic.received_bytes())
}

fn sent_bytes(traffic: &Traffic) -> Value {
    Value::Counter(traffic.sent_bytes())
}

fn storage_samples(status: &NodeStatus) -> Vec<Sample> {
    vec![
        Sample::gauge("raft_term", "Raft term", status.term),
        Sample::gauge("raft_log_index", "Last log index", status.log_index.unwrap_or(0)),
        Sample::gauge("raft_applied_index", "Last applied log index", status.applied_index.unwrap_or(0)),
        Sample::gauge(
            "raft_snapshot_index",
            "Log index of the last snapshot",
            status.snapshot_index.unwrap_or(0),
        ),
        Sample::gauge(
            "disk_free_bytes",
            "Free bytes of the data directory's file system",
            status.disk_free_bytes,
        ),
        Sample::gauge(
            "disk_reserve_bytes",
            "Free bytes below which writes are refused",
            status.disk_reserve_bytes,
        ),
    ]
}

fn totals(lanes: &Lanes) -> CounterTotals {
    let mut totals = CounterTotals::default();
    for lane in lanes.iter() {
        totals.add(&lane.counters);
    }
    totals
}

fn forwarding_samples(lanes: &Lanes, forwarding: &ForwardingCounters) -> Vec<Sample> {
    let totals = totals(lanes);
    let outside = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let counter = Sample::counter;
    vec![
        counter(
            "messages_forwarded",
            "Messages sent to other nodes, once for each",
            totals.messages_forwarded + outside(&forwarding.messages_forwarded),
        ),
        counter(
            "messages_dropped_link_full",
            "Messages not sent to a node because too much was on the way to it",
            totals.messages_dropped_link_full + outside(&forwarding.messages_dropped_link_full),
        ),
        counter(
            "messages_from_nodes",
            "Messages received from other nodes",
            outside(&forwarding.messages_from_nodes),
        ),
        counter(
            "chunks_malformed",
            "Chunks of other nodes that could not be read",
            outside(&forwarding.chunks_malformed),
        ),
    ]
}

fn message_samples(lanes: &Lanes) -> Vec<Sample> {
    let totals = totals(lanes);
    let counter = Sample::counter;
    vec![
        Sample::gauge("connections_open", "Open MQTT connections", totals.connections_open),
        Sample::gauge("outbox_bytes", "Bytes in outboxes and in-flight windows", totals.outbox_bytes),
        counter("connections_accepted", "MQTT connections accepted", totals.connections_accepted),
        counter("connects_accepted", "CONNECTs answered with code 0", totals.connects_accepted),
        counter("connects_refused", "CONNECTs answered with another code", totals.connects_refused),
        counter("messages_received", "PUBLISH packets received", totals.messages_received),
        counter("messages_sent", "PUBLISH packets put into outboxes", totals.messages_sent),
        counter("bytes_received", "Bytes received from MQTT clients", totals.bytes_received),
        counter("bytes_sent", "Bytes written to MQTT clients", totals.bytes_sent),
        counter(
            "messages_dropped_outbox_full",
            "QoS 0 messages dropped because a subscriber's outbox was full",
            totals.messages_dropped_outbox_full,
        ),
        counter(
            "sessions_closed_slow",
            "Sessions closed because their queue of QoS 1 messages or answers was full",
            totals.sessions_closed_slow,
        ),
        counter(
            "stored_messages_left_out",
            "Stored messages left out of the answer to a SUBSCRIBE because the queue was full",
            totals.stored_messages_left_out,
        ),
        counter("publishes_refused", "Publishes refused, with their connection", totals.publishes_refused),
        counter("filters_refused", "Filters answered with 0x80", totals.filters_refused),
        counter("messages_redelivered", "QoS 1 messages sent again", totals.messages_redelivered),
        counter(
            "messages_dropped_over_rate",
            "QoS 0 messages dropped because their publisher exceeds its rate",
            totals.messages_dropped_over_rate,
        ),
        counter(
            "publishers_slowed",
            "How often a publisher was not read for a while because it exceeds its rate",
            totals.publishers_slowed,
        ),
        counter("messages_unmatched", "Messages that no subscription matched", totals.messages_unmatched),
        counter("protocol_violations", "Protocol violations", totals.protocol_violations),
        counter(
            "keep_alive_timeouts",
            "Connections closed by the keep-alive rule",
            totals.keep_alive_timeouts,
        ),
        counter("connection_panics", "Panics, each confined to its connection", totals.panics),
        counter("route_misses", "Routes that had to be computed", totals.route_misses),
    ]
}

fn session_samples(lanes: &Lanes) -> Vec<Sample> {
    let totals = totals(lanes);
    let counter = Sample::counter;
    vec![
        counter("wills_published", "Wills published", totals.wills_published),
        counter("wills_refused", "Wills dropped because their topic is not allowed", totals.wills_refused),
        counter("wills_lost", "Wills dropped because the node had lost its cluster", totals.wills_lost),
        counter(
            "takeovers_refused",
            "CONNECTs refused because clients took over from each other too often",
            totals.takeovers_refused,
        ),
    ]
}

fn listener_samples(listeners: &[(&'static str, Arc<ListenerCounters>)]) -> Vec<Sample> {
    let sum = |read: fn(&ListenerCounters) -> &std::sync::atomic::AtomicU64| {
        listeners.iter().map(|(_, counters)| read(counters).load(Ordering::Relaxed)).sum()
    };
    let times = listeners.iter().map(|(_, counters)| counters.handshake_times.distribution());
    let handshakes = times.reduce(Distribution::plus).unwrap_or_else(|| Histogram::default().distribution());
    let counter = Sample::counter;
    vec![
        Sample::histogram(
            "tls_handshake_seconds",
            "TLS handshakes that succeeded, from accept to end",
            handshakes,
        ),
        counter("accept_errors", "Errors of the accept call", sum(|c| &c.accept_errors)),
        counter("connections_over_limit", "Connections closed at once: too many open", sum(|c| &c.refused)),
        counter("tls_handshakes_failed", "TLS handshakes that failed", sum(|c| &c.handshakes_failed)),
        counter(
            "tls_handshakes_timed_out",
            "TLS handshakes that took too long",
            sum(|c| &c.handshakes_timed_out),
        ),
        counter(
            "tls_handshakes_evicted",
            "Slow TLS handshakes closed for newcomers",
            sum(|c| &c.handshakes_evicted),
        ),
        counter(
            "tls_handshakes_resumed",
            "TLS handshakes that resumed a session",
            sum(|c| &c.handshakes_resumed),
        ),
    ]
}

/// Whether every connection thread turns its wheel. Never depends on the disk or on other nodes.
fn lanes_move(lanes: &Lanes) -> Check {
    let lanes = lanes.clone();
    let run = move || {
        let now = clock::now().seconds();
        for (number, lane) in lanes.iter().enumerate() {
            let silent = now.saturating_sub(lane.counters.heartbeat_s.get());
            if silent > LANE_SILENCE_MAX.as_secs() {
                return Err(format!("connection thread {number} has not moved for {silent} s"));
            }
        }
        Ok(())
    };
    Check { name: "connection threads", run: Arc::new(run) }
}

fn not_draining(environment: &Arc<Environment>) -> Check {
    let environment = Arc::clone(environment);
    let run = move || if environment.is_draining() { Err("the node is draining".to_owned()) } else { Ok(()) };
    Check { name: "accepting", run: Arc::new(run) }
}

fn has_joined(environment: &Arc<Environment>) -> Check {
    let environment = Arc::clone(environment);
    let run = move || match environment.directory.own_node().get() {
        Some(_) => Ok(()),
        None => Err("the node has still to join its cluster".to_owned()),
    };
    Check { name: "membership", run: Arc::new(run) }
}

fn is_not_fenced(environment: &Arc<Environment>) -> Check {
    let environment = Arc::clone(environment);
    let run = move || if environment.lease.is_valid() { Ok(()) } else { Err(fence::reason(&environment)) };
    Check { name: "lease", run: Arc::new(run) }
}

fn storage_serves(parts: &Parts<'_>) -> Check {
    let status = parts.store.status();
    let run = move || {
        let status = status.borrow();
        match status.state {
            // A full disk refuses changes, and sessions come and go: no reason to send clients away. That changes when not
            // even they can be stored.
            NodeState::StorageFull if status.disk_free_bytes < status.disk_reserve_bytes / 2 => {
                Err(format!("disk is full: {} bytes free", status.disk_free_bytes))
            }
            NodeState::Starting | NodeState::StorageFailed | NodeState::ReplicaFailed | NodeState::Closed => {
                Err(format!("{} {}", status.state, status.failure.as_deref().unwrap_or_default()))
            }
            // Whether there is a leader says the lease.
            _ => Ok(()),
        }
    };
    Check { name: "storage", run: Arc::new(run) }
}
