//! Each rule passes a good history and catches its violation.

use std::sync::Arc;

use rookery_harness::cluster::status::Session;

use super::{
    Report, Rule,
    catalog::{self, Reading},
    check,
    states::{check_connected_once, check_last},
};
use crate::history::{Deed, Event, History, What};

/// Session numbers: the publisher and the subscriber of most histories.
const PUBLISHER: u32 = 1;
const SUBSCRIBER: u32 = 2;

/// Writes histories; each event is one nanosecond after the one before.
#[derive(Default)]
struct Story(History);

impl Story {
    fn add(mut self, what: What) -> Self {
        let at = self.0.events.len() as u64;
        self.0.events.push(Event { at, what });
        self
    }

    fn deed(self, session: u32, deed: Deed) -> Self {
        self.add(What::Session(session, deed))
    }

    fn connected(self, session: u32, client: u32) -> Self {
        self.deed(session, Deed::Connecting { client, node: session as usize }).deed(session, Deed::Connected)
    }

    /// Publisher and subscriber, who subscribes to topics 7 and 8.
    fn pair() -> Self {
        let topics: Arc<[u32]> = [7, 8].into();
        Self::default()
            .connected(PUBLISHER, 10)
            .connected(SUBSCRIBER, 20)
            .deed(SUBSCRIBER, Deed::Subscribing(Arc::clone(&topics)))
            .deed(SUBSCRIBER, Deed::Subscribed(topics))
    }

    fn sends(self, message: u64, quality: u8) -> Self {
        self.deed(PUBLISHER, Deed::Publishing { message, topic: 7, quality })
    }

    fn acknowledged(self, message: u64) -> Self {
        self.deed(PUBLISHER, Deed::Acknowledged(message))
    }

    fn receives(self, message: u64, quality: u8) -> Self {
        let received = Deed::Received { message, topic: Some(7), quality, duplicate: false };
        self.deed(SUBSCRIBER, received)
    }

    fn rules(&self) -> Vec<Rule> {
        check(&self.0).into_iter().map(|violation| violation.rule).collect()
    }
}

#[test]
fn a_good_history_passes() {
    let story = Story::pair().sends(1, 1).sends(2, 0).receives(1, 1).acknowledged(1).receives(2, 0);
    assert_eq!(story.rules(), []);
}

#[test]
fn a_missed_message_is_caught_when_the_subscriber_lived_to_the_end() {
    let story = Story::pair().sends(1, 1).acknowledged(1);
    assert_eq!(story.rules(), [Rule::Missed]);
}

#[test]
fn a_missed_message_is_caught_when_a_later_one_came_though_the_session_ended() {
    let story = Story::pair().sends(1, 1).acknowledged(1).sends(2, 1).acknowledged(2).receives(2, 1);
    assert_eq!(story.deed(SUBSCRIBER, Deed::Lost).rules(), [Rule::Missed]);
}

#[test]
fn nothing_is_owed_to_a_session_that_ended_before_it_got_anything() {
    let story = Story::pair().sends(1, 1).acknowledged(1);
    assert_eq!(story.deed(SUBSCRIBER, Deed::Lost).rules(), []);
}

#[test]
fn only_what_was_sent_after_the_suback_is_owed() {
    let topics: Arc<[u32]> = [7].into();
    let story = Story::default().connected(PUBLISHER, 10).connected(SUBSCRIBER, 20);
    let story = story.deed(SUBSCRIBER, Deed::Subscribing(Arc::clone(&topics))).sends(1, 1);
    let story = story.deed(SUBSCRIBER, Deed::Subscribed(Arc::clone(&topics))).acknowledged(1);
    assert_eq!(story.rules(), []);
    // What was acknowledged before UNSUBSCRIBE is owed, what was not is free.
    let story = story.sends(2, 1).deed(SUBSCRIBER, Deed::Unsubscribing(Arc::clone(&topics))).acknowledged(2);
    assert_eq!(story.rules(), []);
    let story = story.deed(SUBSCRIBER, Deed::Subscribed(Arc::clone(&topics))).sends(3, 1).acknowledged(3);
    let story = story.deed(SUBSCRIBER, Deed::Unsubscribing(topics));
    assert_eq!(story.rules(), [Rule::Missed]);
}

#[test]
fn unacknowledged_and_qos_0_messages_may_be_lost() {
    assert_eq!(Story::pair().sends(1, 1).sends(2, 0).sends(3, 1).acknowledged(3).receives(3, 1).rules(), []);
}

#[test]
fn another_order_is_caught_per_quality_of_service() {
    let story = Story::pair().sends(1, 1).sends(2, 1).receives(2, 1).receives(1, 1);
    assert_eq!(story.rules(), [Rule::Order]);
    let story = Story::pair().sends(1, 0).sends(2, 1).receives(2, 1).receives(1, 0);
    assert_eq!(story.rules(), []);
}

#[test]
fn qos_1_may_come_again_and_qos_0_may_not() {
    let story = Story::pair().sends(1, 1).sends(2, 1).receives(1, 1).receives(2, 1).receives(1, 1);
    assert_eq!(story.rules(), []);
    assert_eq!(Story::pair().sends(1, 0).receives(1, 0).receives(1, 0).rules(), [Rule::Duplicate]);
    assert_eq!(Story::pair().sends(1, 1).receives(1, 0).receives(1, 0).rules(), [Rule::Duplicate]);
}

#[test]
fn foreign_messages_are_caught() {
    assert_eq!(Story::pair().receives(5, 1).rules(), [Rule::Foreign], "never sent");
    assert_eq!(Story::pair().sends(1, 0).receives(1, 1).rules(), [Rule::Foreign], "quality raised");
    let other = Deed::Received { message: 1, topic: Some(8), quality: 1, duplicate: false };
    assert_eq!(Story::pair().sends(1, 1).deed(SUBSCRIBER, other).rules(), [Rule::Foreign], "another topic");
    let stranger = Deed::Received { message: 1, topic: Some(7), quality: 1, duplicate: false };
    let story = Story::pair().connected(3, 30).sends(1, 1).receives(1, 1).deed(3, stranger);
    assert_eq!(story.rules(), [Rule::Foreign], "not asked for");
}

#[test]
fn two_live_sessions_of_a_client_are_caught() {
    let taken = Story::default().connected(1, 10).deed(1, Deed::Answered(1)).connected(2, 10);
    assert_eq!(taken.rules(), [], "the older one was answered before");
    let dead = Story(taken.0.clone()).deed(2, Deed::Answered(6)).deed(1, Deed::Lost);
    assert_eq!(dead.rules(), []);
    let alive = Story(taken.0).deed(1, Deed::Answered(6));
    assert_eq!(alive.rules(), [Rule::TwoLive], "begun after the older one, so it has replaced it");
    let others = Story::default().connected(1, 10).connected(2, 11).deed(1, Deed::Answered(6));
    assert_eq!(others.deed(2, Deed::Answered(6)).rules(), [], "two clients");
}

#[test]
fn of_two_that_were_begun_together_either_may_live_but_not_both() {
    let begun = |session| (session, Deed::Connecting { client: 10, node: 0 });
    let (first, second) = (begun(1), begun(2));
    let both = Story::default().deed(first.0, first.1).deed(second.0, second.1);
    let both = both.deed(1, Deed::Connected).deed(2, Deed::Connected);
    assert_eq!(Story(both.0.clone()).deed(1, Deed::Answered(4)).rules(), []);
    assert_eq!(Story(both.0.clone()).deed(2, Deed::Answered(4)).rules(), []);
    assert_eq!(both.deed(1, Deed::Answered(4)).deed(2, Deed::Answered(4)).rules(), [Rule::TwoLive]);
}

#[test]
fn lost_writes_are_caught() {
    let story = Story::default()
        .add(What::Writing { key: 1, value: 1 })
        .add(What::Written { key: 1, value: 1 })
        .add(What::Writing { key: 1, value: 2 })
        .add(What::Writing { key: 1, value: 3 })
        .add(What::Written { key: 1, value: 3 })
        .add(What::Writing { key: 2, value: 1 });
    let read = |first, second| {
        let reading = |node, value| Reading { node, key: 1, value };
        catalog::check(&story.0, 2, &[reading(0, first), reading(1, second)]).len()
    };
    assert_eq!(read(Some(3), Some(3)), 0);
    assert_eq!(read(Some(2), Some(2)), 0, "value 2 had no answer and may come late");
    assert_eq!(read(Some(3), Some(1)), 1, "node 1 lost an acknowledged value");
    assert_eq!(read(None, Some(4)), 2, "nothing, and what was never written");
}

#[test]
fn different_states_at_one_index_are_caught() {
    let state = |node, index, hash: &str| What::State { node, index, hash: hash.to_owned() };
    let story = Story::default().add(state(0, 5, "a")).add(state(1, 5, "a")).add(state(2, 6, "b"));
    assert_eq!(story.rules(), []);
    assert_eq!(story.add(state(1, 6, "c")).rules(), [Rule::State]);
    let last = |index, hash: &str| check_last(&[(0, 5, "a".to_owned()), (1, index, hash.to_owned())]).len();
    assert_eq!((last(5, "a"), last(5, "b"), last(6, "a")), (0, 1, 1));
}

#[test]
fn a_client_that_is_listed_twice_is_caught() {
    let row = |client: &str, node: &str| Session {
        node: node.to_owned(),
        entity_type: "device".to_owned(),
        entity_id: "d".to_owned(),
        client_id: client.to_owned(),
    };
    assert_eq!(check_connected_once(&[row("a", "n1"), row("b", "n1")]), []);
    assert_eq!(check_connected_once(&[row("a", "n1"), row("b", "n1"), row("a", "n2")]).len(), 1);
}

#[test]
fn a_report_shows_the_related_part_only() {
    let story =
        Story::pair().sends(1, 1).acknowledged(1).receives(1, 1).add(What::Fault("kill n1".to_owned()));
    let story = story.connected(3, 30).sends(2, 1).acknowledged(2);
    let violations = check(&story.0);
    let report = Report { history: &story.0, violations: &violations }.to_string();
    for part in
        ["Missed", "message 2 never came", "-- kill n1", "message: 2", "Acknowledged(2)", "Subscribed"]
    {
        assert!(report.contains(part), "{part} in {report}");
    }
    for part in ["session 3", "message: 1,", "Acknowledged(1)"] {
        assert!(!report.contains(part), "{part} in {report}");
    }
}
