//! Random connections, breaks, late openings and ends of epochs against the two pure sides of a link.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::proptest;

use crate::link::intake::{Admission, Epochs, Intake};
use crate::link::peer::{Next, Peer};
use crate::link::queue::Batch;

#[derive(Debug, Clone)]
enum Step {
    Push(u8),
    Connect,
    Send,
    /// The opening of a connection reaches the receiver, in any order.
    Arrive(usize),
    /// A message reaches the receiver.
    Receive(usize),
    /// An answer reaches the sender.
    Answer(usize),
    Lose(usize),
    EndEpoch,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..5_u8).prop_map(Step::Push),
        1 => proptest::strategy::Just(Step::Connect),
        4 => proptest::strategy::Just(Step::Send),
        2 => any::<usize>().prop_map(Step::Arrive),
        6 => any::<usize>().prop_map(Step::Receive),
        6 => any::<usize>().prop_map(Step::Answer),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => proptest::strategy::Just(Step::EndEpoch),
    ]
}

struct Connection {
    attempt: u64,
    epochs: Epochs,
    first_sequence: u64,
    has_arrived: bool,
    requests: VecDeque<Batch>,
    answers: VecDeque<u64>,
}

struct Model {
    peer: Peer,
    intake: Intake,
    epochs: Epochs,
    connections: Vec<Connection>,
    /// The attempt that the receiver listens to: the one that arrived last.
    heard: u64,
    /// Sequences that were given in the current epochs.
    pushed: Vec<u64>,
    delivered: Vec<u64>,
    acknowledged: u64,
}

fn content(sequence: u64) -> Bytes {
    Bytes::copy_from_slice(&sequence.to_be_bytes())
}

impl Model {
    fn new() -> Model {
        let epochs = Epochs { sender: 1, receiver: 2 };
        let peer = Peer::new(2);
        peer.begin(Some(epochs), 0);
        let (connections, pushed, delivered) = (Vec::new(), Vec::new(), Vec::new());
        let intake = Intake::default();
        Model { peer, intake, epochs, connections, heard: 0, pushed, delivered, acknowledged: 0 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Push(count) => (0..count).for_each(|_| self.push()),
            Step::Connect => self.connect(),
            Step::Send => self.send(),
            Step::EndEpoch => self.end_epoch(),
            Step::Arrive(any) | Step::Receive(any) | Step::Answer(any) | Step::Lose(any) => {
                let Some(index) = any.checked_rem(self.connections.len()) else { return };
                match step {
                    Step::Arrive(_) => self.arrive(index),
                    Step::Receive(_) => self.receive(index),
                    Step::Answer(_) => self.answer(index),
                    _ => drop(self.connections.remove(index)),
                }
            }
        }
    }

    fn push(&mut self) {
        let last = self.peer.statistics().backlog_chunks as u64 + self.settled();
        assert_eq!(self.peer.send(content(last + 1)), Some(last + 1));
        self.pushed.push(last + 1);
    }

    /// What the queue holds no more.
    fn settled(&self) -> u64 {
        self.acknowledged
    }

    fn connect(&mut self) {
        let attempt = self.peer.attempt(self.epochs).expect("the epochs are current");
        self.connections.push(Connection {
            attempt: attempt.number,
            epochs: self.epochs,
            first_sequence: attempt.first_sequence,
            has_arrived: false,
            requests: VecDeque::new(),
            answers: VecDeque::new(),
        });
    }

    fn send(&mut self) {
        for connection in &mut self.connections {
            if let Next::Send(batch) = self.peer.next(connection.attempt) {
                connection.requests.push_back(batch);
            }
        }
    }

    fn arrive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if !connection.has_arrived && connection.epochs == self.epochs {
            connection.has_arrived = true;
            self.heard = connection.attempt;
            let accepted = self.intake.open(connection.epochs, connection.first_sequence);
            connection.answers.push_back(accepted.expect("the sender keeps to the protocol"));
        }
    }

    fn receive(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        if self.heard != connection.attempt || connection.epochs != self.epochs {
            return;
        }
        let Some(batch) = connection.requests.pop_front() else { return };
        for (sequence, chunk) in (batch.first_sequence..).zip(batch.chunks) {
            assert_eq!(chunk, content(sequence));
            match self.intake.admit(sequence).expect("no gaps on a connection") {
                Admission::Next => {
                    self.delivered.push(sequence);
                    assert_eq!(self.intake.accepted(), sequence);
                }
                Admission::Duplicate => assert!(self.delivered.contains(&sequence)),
            }
            connection.answers.push_back(sequence);
        }
    }

    fn answer(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(accepted) = connection.answers.pop_front() else { return };
        let answered =
            self.peer.answered(connection.attempt, accepted).expect("the receiver tells the truth");
        if let Some(acknowledged) = answered.acknowledged {
            assert!(acknowledged > self.acknowledged);
            assert!(self.delivered.contains(&acknowledged), "acknowledged before it was delivered");
            self.acknowledged = acknowledged;
        }
    }

    fn end_epoch(&mut self) {
        self.check_order();
        let next = Epochs { sender: self.epochs.sender, receiver: self.epochs.receiver + 1 };
        assert!(self.peer.end_unless(Some(next)).is_some());
        self.peer.begin(Some(next), 0);
        self.acknowledged = self.pushed.last().copied().unwrap_or(self.acknowledged);
        self.pushed.clear();
        self.delivered.clear();
        self.epochs = next;
    }

    /// What was delivered in the current epochs is what was pushed in them, in order, each once, without gaps.
    fn check_order(&self) {
        assert!(self.pushed.starts_with(&self.delivered), "{:?} of {:?}", self.delivered, self.pushed);
    }

    fn finish(&mut self) {
        self.connect();
        let last = self.connections.len() - 1;
        self.arrive(last);
        while self.acknowledged < self.pushed.last().copied().unwrap_or_default() {
            self.answer(last);
            self.send();
            self.receive(last);
        }
        self.check_order();
        assert_eq!(self.delivered, self.pushed);
        assert_eq!(self.peer.load().backlog_bytes, 0);
    }
}

proptest! {
    #[test]
    fn every_chunk_is_delivered_once_in_order_in_its_epochs(steps in vec(step(), 0..200)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
            model.check_order();
        }
        model.finish();
    }
}
