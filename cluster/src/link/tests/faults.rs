//! Links over a network that cuts and stalls.

use bytes::Bytes;

use super::fixture::{TestNode, until};
use super::proxy::{Fault, Proxy};

/// Node 1 reaches node 2 through a proxy.
async fn behind_proxy() -> (TestNode, TestNode, Proxy) {
    let (one, two) = (TestNode::start(1), TestNode::start(2));
    let proxy = Proxy::start(two.address).await;
    one.knows(2, proxy.address);
    two.knows(1, one.address);
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 12)]);
    }
    until("the link opens", || one.is_connected(2) && two.is_connected(1)).await;
    (one, two, proxy)
}

fn numbered(count: u32) -> Vec<Bytes> {
    (0..count).map(|number| Bytes::from(number.to_be_bytes().repeat(1000))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cuts_neither_lose_nor_repeat_nor_reorder() {
    let (one, two, proxy) = behind_proxy().await;
    let all = numbered(3000);
    for part in all.chunks(300) {
        let mut sequence = 0;
        for chunk in part {
            sequence = one.send(2, chunk.clone());
        }
        until("some are accepted", || one.acknowledged(2) + 200 > sequence).await;
        proxy.set(Fault::Cut);
        until("the cut is noticed", || !one.is_connected(2)).await;
        proxy.set(Fault::None);
    }
    until("all are accepted", || one.acknowledged(2) == 3000).await;
    assert_eq!(two.delivered(1, 11), all);
    assert!(one.links.statistics()[0].connections >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_network_is_noticed_and_survived() {
    for fault in [Fault::Stall, Fault::StallRequests, Fault::StallAnswers] {
        let (one, two, proxy) = behind_proxy().await;
        one.send(2, "before");
        until("it is accepted", || one.acknowledged(2) == 1).await;
        assert!(one.links.unreachable().is_empty());
        proxy.set(fault);
        one.send(2, "while");
        until("node 2 counts as unreachable", || one.links.unreachable().contains(&2)).await;
        assert!(!one.is_connected(2));
        one.send(2, "later");
        proxy.set(Fault::None);
        until("all are accepted", || one.acknowledged(2) == 3).await;
        assert!(one.links.unreachable().is_empty(), "{fault:?}");
        assert_eq!(two.delivered(1, 11), ["before", "while", "later"], "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_an_epoch_is_heard_of_while_the_network_is_down() {
    let (one, two, proxy) = behind_proxy().await;
    proxy.set(Fault::Stall);
    one.send(2, "lost");
    until("the stall is noticed", || !one.is_connected(2)).await;
    one.applies(&[(1, 11), (2, 0)]);
    assert_eq!(one.recorder.told.lock().ended, [2]);
    until("it is still unreachable", || one.links.unreachable().contains(&2)).await;
    one.applies(&[(1, 11)]);
    assert!(one.links.unreachable().is_empty(), "nobody has to reach a node that was removed");
    for node in [&one, &two] {
        node.applies(&[(1, 11), (2, 20)]);
    }
    one.send(2, "kept");
    proxy.set(Fault::None);
    until("it is accepted", || one.acknowledged(2) == 2).await;
    assert_eq!(two.delivered(1, 11).last(), Some(&Bytes::from_static(b"kept")));
}
