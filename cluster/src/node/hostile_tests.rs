//! Whom the peer listener refuses.

use std::collections::{BTreeMap, BTreeSet};

use rookery_proto::rookery::cluster::v1::raft_client::RaftClient;
use rookery_proto::rookery::cluster::v1::{AppendEntriesRequest, ProposeRequest, VoteId, VoteRequest};
use tonic::Code;
use tonic::transport::Channel;

use super::testbed::{CLUSTER, Machines, certify, patiently, until};
use super::*;
use crate::network::Purpose;
use crate::network::dial::introduction_channel;
use crate::pki::{Authority, Credentials, NodeKey, PeerIdentity};
use crate::record::{self, RemoveNode, SystemChange, SystemCommand};

/// A channel to node `node_id` of the machines by somebody with these credentials.
fn channel(machines: &Machines, credentials: &Credentials, node_id: u64) -> Channel {
    channel_to(machines.address(node_id), credentials, node_id)
}

fn channel_to(address: &str, credentials: &Credentials, node_id: u64) -> Channel {
    let channels = Channels::new(None);
    channels.set_identity(pki::tls::member_client(credentials).unwrap());
    channels.set_addresses(BTreeMap::from([(node_id, address.to_owned())]));
    channels.channel(node_id, Purpose::Raft).unwrap()
}

/// Asks for a vote in term 0, which changes nothing, in the name of `node_id`. That the asked node hears a leader is an answer.
async fn vote(channel: Channel, node_id: u64) -> Result<(), Code> {
    let vote = Some(VoteId { term: 0, node_id, committed: false });
    let mut client = RaftClient::new(channel);
    match patiently(client.vote(VoteRequest { vote, last_log_id: None })).await {
        Err(status) if status.code() != Code::FailedPrecondition => Err(status.code()),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_of_the_cluster_are_heard() {
    let mut machines = Machines::three().await;
    let member = certify(&machines.founder, CLUSTER, 2);
    assert_eq!(vote(channel(&machines, &member, 1), 2).await, Ok(()));

    let stranger = Credentials::found(&PeerIdentity { cluster_id: CLUSTER.to_owned(), node_id: 2 }).unwrap();
    let refused = vote(channel(&machines, &stranger, 1), 2).await.unwrap_err();
    assert_eq!(refused, Code::Unavailable, "it does not even believe the listener");
    let rogue = Authority::generate(CLUSTER).unwrap();
    let key = NodeKey::generate().unwrap();
    let identity = PeerIdentity { cluster_id: CLUSTER.to_owned(), node_id: 2 };
    let certificate = rogue.certify(&key.request().unwrap(), &identity).unwrap();
    let authority = machines.founder.authority();
    let authority = Authority::from_pem(authority.certificate_pem(), authority.key_pem()).unwrap();
    let forged = Credentials::new(authority, &certificate, key.pem()).unwrap();
    assert!(vote(channel(&machines, &forged, 1), 2).await.is_err(), "of another authority");
    let foreign = certify(&machines.founder, "another cluster", 2);
    assert_eq!(vote(channel(&machines, &foreign, 1), 2).await, Err(Code::PermissionDenied));
    let (nobody, binding) = introduction_channel(machines.address(1), None).await.unwrap();
    assert_eq!(vote(nobody, 2).await, Err(Code::Unauthenticated));
    let (_, other) = introduction_channel(machines.address(1), None).await.unwrap();
    assert_ne!(binding, other, "proofs are bound to one connection");
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_speaks_only_for_itself() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let member = certify(&machines.founder, CLUSTER, 2);
    assert_eq!(vote(channel(&machines, &member, 1), 3).await, Err(Code::PermissionDenied));
    let vote = Some(VoteId { term: u64::MAX, node_id: 3, committed: true });
    let request = AppendEntriesRequest { vote, ..AppendEntriesRequest::default() };
    let appended = RaftClient::new(channel(&machines, &member, 1)).append_entries(request).await;
    assert_eq!(appended.unwrap_err().code(), Code::PermissionDenied);
    assert!(machines.raft(1).metrics().borrow().current_term < u64::MAX);

    // Nor does it decide about others.
    let remove =
        SystemCommand { change: Some(SystemChange::Remove(RemoveNode { node_id: 3, is_dead: false })) };
    let request = ProposeRequest { system: record::encode(&remove).into(), ..ProposeRequest::default() };
    let mut client = RaftClient::new(channel(&machines, &member, leader));
    let mut answers = client.propose(tokio_stream::once(request)).await.unwrap().into_inner();
    assert_eq!(answers.message().await.unwrap_err().code(), Code::PermissionDenied);
    assert!(!machines.node(leader).shared.machine.nodes().is_removed(3));
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_answers_at_an_address_must_be_the_node_that_is_meant() {
    let mut machines = Machines::three().await;
    let member = certify(&machines.founder, CLUSTER, 2);
    let misdirected = channel_to(machines.address(1), &member, 3);
    assert_eq!(vote(misdirected, 2).await, Err(Code::Unavailable));
    machines.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_is_not_heard_again() {
    let mut machines = Machines::three().await;
    let leader = machines.leader().await;
    let removed = certify(&machines.founder, CLUSTER, 9);
    let before = channel(&machines, &removed, leader);
    assert_eq!(vote(before.clone(), 9).await, Ok(()));
    let remove = SystemChange::Remove(RemoveNode { node_id: 9, is_dead: false });
    machines.node(leader).shared.system_proposer().propose_system(remove).await.unwrap();
    for node_id in 1..=3 {
        let nodes = || machines.node(node_id).shared.machine.nodes();
        until("the removal", || nodes().is_removed(9).then_some(())).await;
        assert_eq!(nodes().removed(), BTreeSet::from([9]));
        assert!(vote(channel(&machines, &removed, node_id), 9).await.is_err());
    }
    assert!(vote(before, 9).await.is_err(), "nor on a connection from before");
    machines.shutdown().await;
}
