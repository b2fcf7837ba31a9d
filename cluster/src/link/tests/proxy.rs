//! A proxy between two nodes that can cut, stall, and stall one way.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the proxy does to every byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Connections break, new ones are closed at once.
    Cut,
    /// Nothing passes and nothing breaks.
    Stall,
    /// Nothing passes from the dialling node.
    StallRequests,
    /// Nothing passes to the dialling node.
    StallAnswers,
}

#[derive(Clone, Copy)]
enum Way {
    Requests,
    Answers,
}

impl Fault {
    fn passes(self, way: Way) -> bool {
        match (self, way) {
            (Fault::None, _)
            | (Fault::StallRequests, Way::Answers)
            | (Fault::StallAnswers, Way::Requests) => true,
            (Fault::Cut | Fault::Stall | Fault::StallRequests | Fault::StallAnswers, _) => false,
        }
    }
}

/// A proxy in front of one node.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    fault: watch::Sender<Fault>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn start(node: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (fault, faults) = watch::channel(Fault::None);
        let task = tokio::spawn(async move {
            while let Ok((stream, _remote)) = listener.accept().await {
                tokio::spawn(carry(stream, node, faults.clone()));
            }
        });
        Proxy { address, fault, task }
    }

    pub(super) fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(stream: TcpStream, node: SocketAddr, faults: watch::Receiver<Fault>) -> io::Result<()> {
    let fault = *faults.borrow();
    if fault == Fault::Cut {
        return Ok(());
    }
    let onward = TcpStream::connect(node).await?;
    let (from_client, to_client) = stream.into_split();
    let (from_node, to_node) = onward.into_split();
    tokio::select! {
        done = pump(from_client, to_node, Way::Requests, faults.clone()) => done,
        done = pump(from_node, to_client, Way::Answers, faults.clone()) => done,
        () = until_cut(faults.clone()) => Ok(()),
    }
}

async fn until_cut(mut faults: watch::Receiver<Fault>) {
    let _gone = faults.wait_for(|fault| *fault == Fault::Cut).await.is_err();
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    way: Way,
    mut faults: watch::Receiver<Fault>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        // The proxy is gone at the end of a test.
        let _gone = faults.wait_for(|fault| fault.passes(way)).await.is_err();
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
    }
}
