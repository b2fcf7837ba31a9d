//! A raw MQTT 3.1.1 client: sends any bytes and looks at every packet that comes back.

use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, SocketAddr},
};

use crate::{
    node::Node,
    packet::{self, Connect, Message, Packet},
    runtime::within,
    tls::TlsOptions,
    wire::Wire,
};

pub use crate::wire::new_source;

/// What became of a publish with QoS 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The PUBACK came.
    Acknowledged,
    /// The server closed the connection without a PUBACK.
    Closed,
}

/// A connection with what was received on it. Closed abruptly when dropped.
pub struct Client {
    wire: Wire,
    inbox: VecDeque<Message>,
    next_identifier: u16,
    ended: bool,
    /// Whether received QoS 1 messages are acknowledged at once, as clients do.
    pub acknowledges: bool,
}

impl Client {
    /// Opens a plain TCP connection from an address of its own and sends nothing.
    pub async fn tcp(address: SocketAddr) -> Self {
        Self::tcp_from(new_source(), address).await
    }

    /// Opens a plain TCP connection from the given loopback address and sends nothing.
    pub async fn tcp_from(source: Ipv4Addr, address: SocketAddr) -> Self {
        let opened = within("a TCP connection", Wire::tcp_from(source, address)).await;
        Self::over(opened.expect("the listener accepts connections"))
    }

    /// Opens a TLS connection from an address of its own; an error is a failed handshake.
    pub async fn tls(address: SocketAddr, ca_pem: &str, options: &TlsOptions) -> io::Result<Self> {
        within("a TLS handshake", Wire::tls(address, ca_pem, options)).await.map(Self::over)
    }

    /// Opens a TLS connection with no client certificate to a node.
    pub async fn tls_anonymous(node: &Node) -> Self {
        let opened = Self::tls(node.address("mqtts"), &node.ca_pem(), &TlsOptions::default()).await;
        opened.expect("a client without a certificate completes the handshake")
    }

    /// Opens a TLS connection, sends CONNECT and expects return code 0.
    pub async fn connected(node: &Node, options: &TlsOptions, connect: &Connect) -> Self {
        let opened = Self::tls(node.address("mqtts"), &node.ca_pem(), options).await;
        let mut client = opened.expect("the TLS handshake succeeds");
        assert_eq!(client.connect(connect).await, 0, "CONNACK return code");
        client
    }

    /// Opens a plain connection, sends CONNECT and expects return code 0.
    pub async fn connected_tcp(node: &Node, connect: &Connect) -> Self {
        let mut client = Self::tcp(node.address("mqtt")).await;
        assert_eq!(client.connect(connect).await, 0, "CONNACK return code");
        client
    }

    fn over(wire: Wire) -> Self {
        Self { wire, inbox: VecDeque::new(), next_identifier: 1, ended: false, acknowledges: true }
    }

    /// Sends bytes as they are. An error is ignored: the server may have closed, which the next read tells.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = within("the server to take our bytes", self.wire.send(bytes)).await;
    }

    /// Sends CONNECT and returns the CONNACK's return code. A refusal must be followed by a close.
    pub async fn connect(&mut self, connect: &Connect) -> u8 {
        self.send(&connect.encode()).await;
        let code = self.connack().await;
        if code != 0 {
            self.expect_closed().await;
        }
        code
    }

    /// Waits for a CONNACK and returns its code; the session present flag must be 0 (no persistent sessions).
    pub async fn connack(&mut self) -> u8 {
        match self.next().await {
            Some(Packet::ConnAck { session_present, code }) => {
                assert!(!session_present, "session present is never set (U-M5)");
                code
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// The next packet of any kind, `None` when the server has closed the connection. PUBLISH packets with
    /// QoS 1 are acknowledged if [`Client::acknowledges`].
    pub async fn next(&mut self) -> Option<Packet> {
        within("a packet or the end of the connection", self.read_packet()).await
    }

    async fn read_packet(&mut self) -> Option<Packet> {
        let packet = self.wire.next().await;
        match &packet {
            Some(Packet::Publish(message)) if message.quality == 1 && self.acknowledges => {
                self.send(&packet::puback(message.packet_identifier)).await;
            }
            Some(_) => {}
            None => self.ended = true,
        }
        packet
    }

    /// Reads until a packet other than PUBLISH comes; messages go to the inbox. `None` at the end.
    async fn next_control(&mut self) -> Option<Packet> {
        loop {
            match self.next().await {
                Some(Packet::Publish(message)) => self.inbox.push_back(message),
                other => return other,
            }
        }
    }

    /// Subscribes and returns the SUBACK's codes.
    pub async fn subscribe(&mut self, filters: &[(&str, u8)]) -> Vec<u8> {
        let identifier = self.identifier();
        self.send(&packet::subscribe(identifier, filters)).await;
        match self.next_control().await {
            Some(Packet::SubAck { packet_identifier, codes }) if packet_identifier == identifier => codes,
            other => panic!("expected the SUBACK for {filters:?}, got {other:?}"),
        }
    }

    /// Subscribes to one filter with QoS 1 and returns its code.
    pub async fn subscribe_one(&mut self, filter: &str) -> u8 {
        self.subscribe(&[(filter, 1)]).await[0]
    }

    /// Unsubscribes and waits for the UNSUBACK.
    pub async fn unsubscribe(&mut self, filter: &str) {
        let identifier = self.identifier();
        self.send(&packet::unsubscribe(identifier, &[filter])).await;
        assert_eq!(self.next_control().await, Some(Packet::UnsubAck(identifier)), "UNSUBACK for {filter}");
    }

    /// Publishes with QoS 1 and waits for the PUBACK or the end of the connection.
    pub async fn try_publish(&mut self, topic: &str, payload: &[u8]) -> Outcome {
        self.try_publish_message(Message::new(topic, payload, 1)).await
    }

    /// Publishes a message with QoS 1, whose packet identifier is filled in, and waits as above.
    pub async fn try_publish_message(&mut self, mut message: Message) -> Outcome {
        message.packet_identifier = self.identifier();
        self.send(&message.encode()).await;
        match self.next_control().await {
            Some(Packet::PubAck(identifier)) if identifier == message.packet_identifier => {
                Outcome::Acknowledged
            }
            None => Outcome::Closed,
            other => panic!("expected PUBACK or the end of the connection, got {other:?}"),
        }
    }

    /// Publishes with QoS 1; the PUBACK must come.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) {
        assert_eq!(self.try_publish(topic, payload).await, Outcome::Acknowledged, "publish to {topic}");
    }

    /// Publishes with QoS 0 and returns at once.
    pub async fn publish_unacknowledged(&mut self, topic: &str, payload: &[u8]) {
        self.send(&Message::new(topic, payload, 0).encode()).await;
    }

    /// The next message: from the inbox or from the server. Any other packet fails the test.
    pub async fn receive(&mut self) -> Message {
        if let Some(message) = self.inbox.pop_front() {
            return message;
        }
        match self.next().await {
            Some(Packet::Publish(message)) => message,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// Takes what has come behind the back of other waits.
    pub fn take_inbox(&mut self) -> Vec<Message> {
        self.inbox.drain(..).collect()
    }

    /// Receives `count` messages, then makes sure with [`Client::fence`] that no further one comes.
    pub async fn receive_exactly(&mut self, count: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        while messages.len() < count {
            messages.push(self.receive().await);
        }
        self.fence().await;
        assert!(
            self.inbox.is_empty(),
            "more messages than the expected {count}: {messages:?} {:?}",
            self.inbox
        );
        messages
    }

    /// Makes sure that everything sent to this session before now has been received, instead of sleeping: two
    /// PINGREQ round trips. Messages that come before the last PINGRESP are in the inbox afterwards.
    pub async fn fence(&mut self) {
        for _ in 0..2 {
            self.send(&packet::PINGREQ).await;
            assert_eq!(self.next_control().await, Some(Packet::PingResp), "answer to PINGREQ");
        }
    }

    /// Makes sure that nothing was received, behind a [`Client::fence`].
    pub async fn expect_nothing(&mut self) {
        self.fence().await;
        assert!(self.inbox.is_empty(), "expected no message, got {:?}", self.inbox);
    }

    /// Waits until the server closes the connection. Messages may come before; other packets fail the test.
    pub async fn expect_closed(&mut self) {
        let end = self.next_control().await;
        assert_eq!(end, None, "expected the server to close the connection");
    }

    /// Sends DISCONNECT and waits until the server closes.
    pub async fn disconnect(mut self) {
        self.send(&packet::DISCONNECT).await;
        self.expect_closed().await;
    }

    /// Whether the end of the connection has been read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Closes the sending half only: the server sees the end of its input, answers can still be read.
    pub async fn end_of_input(&mut self) {
        self.wire.end_of_input().await;
    }

    /// Sends nothing and closes the connection, which the server must take as abnormal.
    pub async fn abort(mut self) {
        self.end_of_input().await;
    }

    /// A packet identifier that was not used on this connection lately.
    pub fn identifier(&mut self) -> u16 {
        let identifier = self.next_identifier;
        self.next_identifier = identifier.checked_add(1).unwrap_or(1);
        identifier
    }
}
