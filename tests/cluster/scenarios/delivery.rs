//! What travels between nodes arrives as it was sent.

use rookery_harness::{client::Client, fixture::unique_client_id, packet::Message, runtime::run};

use super::{on_three_nodes, site::Site};

/// Messages of each publisher.
const MESSAGES: usize = 200;

#[test]
fn order_is_kept_between_nodes_and_nothing_comes_twice() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let mut subscribers = Vec::new();
            for node in 0..cluster.size() {
                subscribers.push(site.subscriber(node, &site.broker, "order/+").await);
            }
            for from in 0..cluster.size() {
                let mut publisher = site.connect(from, &site.broker).await;
                let topic = format!("order/{from}");
                for number in 0..MESSAGES {
                    let mut message = Message::new(&topic, number.to_string().as_bytes(), 1);
                    message.packet_identifier = publisher.identifier();
                    publisher.send(&message.encode()).await;
                }
                for subscriber in &mut subscribers {
                    let texts: Vec<_> =
                        subscriber.receive_exactly(MESSAGES).await.iter().map(Message::text).collect();
                    let sent: Vec<_> = (0..MESSAGES).map(|number| number.to_string()).collect();
                    assert_eq!(texts, sent, "from node {from}");
                }
            }
        });
    });
}

/// Protocols between nodes that are made of lines can be spoken to by a topic with a line break.
#[test]
fn a38_control_characters_in_topics_cross_nodes_as_data() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let names = [
                "a\r\nSUB secret 1\r\n",
                "a\nb",
                "\r",
                "a/\u{1}\u{7f}\u{85}/b",
                "a\tb c",
                "\u{2028}x",
                "x\r\n\r\nPUB secret 0\r\n\r\n",
            ];
            let mut victim = site.subscriber(2, &site.broker, "secret").await;
            for name in names {
                let mut subscriber = site.connect(1, &site.broker).await;
                let code = subscriber.subscribe_one(name).await;
                let mut publisher = site.connect(0, &site.broker).await;
                // A topic may be refused, but both ends must agree.
                let outcome = publisher.try_publish(name, b"payload\r\nPUB secret 0\r\n").await;
                let is_accepted = outcome == rookery_harness::client::Outcome::Acknowledged;
                assert_eq!(code == 1, is_accepted, "{name:?}");
                if is_accepted {
                    let message = subscriber.receive().await;
                    assert_eq!(
                        (message.topic.as_str(), message.text().as_str()),
                        (name, "payload\r\nPUB secret 0\r\n")
                    );
                }
            }
            for bytes in ["a\0b", "\0"] {
                let mut subscriber = site.connect(1, &site.broker).await;
                subscriber.send(&rookery_harness::packet::subscribe(1, &[(bytes, 1)])).await;
                assert_eq!(subscriber.next().await, None, "U+0000 is not allowed (MQTT-1.5.3-2)");
            }
            for client_id in ["x\r\nKICK", "\u{1}", "%0a"] {
                let client_id = format!("{client_id}{}", unique_client_id());
                let connect = super::site::connect(&site.broker, &client_id);
                let mut client = Client::tcp(cluster.node(0).address("mqtt")).await;
                client.connect(&connect).await; // accepted or not: nobody else is concerned
            }
            victim.expect_nothing().await;
            site.is_whole().await;
        });
    });
}
