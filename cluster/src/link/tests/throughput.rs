//! What a link costs. Run by hand:
//! `cargo test --release -p rookery-cluster --lib link::tests::throughput -- --ignored --nocapture`

use std::sync::Arc;

use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};

use super::fixture::{Recorder, TestNode, until};
use crate::peer::{BoxFuture, LinkSource, PeerService};

/// A PUBLISH as it is forwarded: topic, header and a payload of 256 bytes.
const FRAME_BYTES: usize = 290;
const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS: u64 = 64 * 1024;
const BACKLOG_MAX: usize = 16 * 1024 * 1024;

/// Takes everything and keeps nothing.
struct Sink;

impl PeerService for Sink {
    fn deliver(&self, _from: LinkSource, _chunk: Bytes) -> BoxFuture<()> {
        Box::pin(std::future::ready(()))
    }

    fn acknowledged(&self, _node_id: u64, _sequence: u64) {}

    fn link_ended(&self, _node_id: u64) {}

    fn link_changed(&self, _node_id: u64) {}

    fn answer(&self, _from: u64, question: Bytes) -> BoxFuture<Result<Bytes, String>> {
        Box::pin(std::future::ready(Ok(question)))
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, in a release build"]
async fn cost_of_a_forwarded_frame() {
    let node = |id| TestNode::start_with(id, Arc::new(Recorder::default()), Arc::new(Sink));
    let (one, two) = (node(1), node(2));
    one.knows(2, two.address);
    two.knows(1, one.address);
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 12)]);
    }
    until("the links open", || one.is_connected(2) && two.is_connected(1)).await;
    let chunk = Bytes::from(vec![0x5a; CHUNK_BYTES]);
    let (cpu, begun) = (cpu_seconds(), std::time::Instant::now());
    let mut sent = 0;
    while sent < CHUNKS {
        while one.links.load(2).backlog_bytes < BACKLOG_MAX && sent < CHUNKS {
            sent = one.send(2, chunk.clone());
        }
        until("there is room", || one.links.load(2).backlog_bytes < BACKLOG_MAX / 2).await;
    }
    until("all is accepted", || one.links.load(2).backlog_bytes == 0).await;
    let (cpu, elapsed) = (cpu_seconds() - cpu, begun.elapsed().as_secs_f64());
    let bytes = (CHUNKS as usize * CHUNK_BYTES) as f64;
    let frames = bytes / FRAME_BYTES as f64;
    println!(
        "{:.3} us of CPU for a frame of {FRAME_BYTES} bytes, both ends; {:.0} MB/s; {:.2} CPUs",
        cpu * 1e6 / frames,
        bytes / elapsed / 1e6,
        cpu / elapsed
    );
    assert_eq!(two.links.statistics()[0].chunks_received, CHUNKS);
}
