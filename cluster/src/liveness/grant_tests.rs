//! Single rules of `grants`, one at a time.

use std::collections::BTreeSet;
use std::time::Duration;

use super::grants::{Answer, Beginning, GiveUp, Grants, Ground, Refusal, Request, Settings};
use crate::formats::Formats;
use crate::nodes::Nodes;
use crate::record::{GiveUpReason, RegisterNode, SetFormat, SystemChange, SystemCommand};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 100 * SECOND;

/// Nodes 1, 2 and 3 are registered by the entries 1, 2 and 3. Node 1 leads in term 7.
struct Leader {
    grants: Grants,
    nodes: Nodes,
    echoes: [u64; 4],
}

impl Leader {
    fn new(log_end: u64) -> Leader {
        let mut nodes = Nodes::default();
        for node_id in 1..=3 {
            let register = RegisterNode { node_id, incarnation: 1, after_epoch: 0 };
            nodes.apply(node_id, &SystemCommand { change: Some(SystemChange::Register(register)) });
        }
        let mut grants = Grants::new(Settings::new(1, Duration::from_secs(5)));
        grants.lead(Beginning { term: 7, generation: 1, log_end, clock_base: 12345 }, START);
        Leader { grants, nodes, echoes: [0; 4] }
    }

    fn refresh(&mut self, applied_index: u64, is_own_entry: bool, now: u64) {
        let voters = [BTreeSet::from([1, 2, 3])];
        let ground = Ground { applied_index, is_own_entry, nodes: &self.nodes, voters: &voters };
        self.grants.refresh(&ground, now);
    }

    fn ask(&mut self, node_id: u64, epoch: u64, now: u64) -> Answer {
        let echo = self.echoes[node_id as usize];
        let request = Request { node_id, term: 7, incarnation: 1, epoch, echo, ..told() };
        let answer = self.grants.renew(request, now);
        self.echoes[node_id as usize] = answer.clock;
        answer
    }
}

/// The request of a node that writes the first format.
fn told() -> Request {
    Request { formats: Formats::told(1, 1), ..Request::default() }
}

#[test]
fn a_leader_first_applies_what_its_log_held() {
    let mut leader = Leader::new(10);
    for (applied_index, is_own_entry) in [(9, true), (10, false)] {
        leader.refresh(applied_index, is_own_entry, START);
        assert_eq!(leader.ask(2, 2, START).granted, Err(Refusal::NotReady));
    }
    leader.refresh(11, true, START);
    assert!(leader.ask(2, 2, START).granted.is_ok());
}

#[test]
fn a_lease_counts_from_the_last_sign_of_a_quorum() {
    let mut leader = Leader::new(3);
    leader.refresh(4, true, START);
    assert_eq!(leader.ask(2, 2, START).granted, Err(Refusal::NoQuorum), "it has proved nothing yet");
    let later = START + SECOND;
    leader.refresh(4, true, later);
    assert_eq!(leader.ask(2, 2, later).granted, Ok(4 * SECOND), "it was there a second ago");
    assert_eq!(leader.ask(1, 1, later).granted, Ok(4 * SECOND), "the leader has no more itself");
    assert_eq!(leader.ask(3, 2, later).granted, Err(Refusal::OtherEpoch));
    let request = Request { node_id: 2, term: 6, incarnation: 1, epoch: 2, ..told() };
    assert_eq!(leader.grants.renew(request, later).granted, Err(Refusal::OtherTerm));
    let much_later = START + 6 * SECOND;
    leader.refresh(4, true, much_later);
    assert_eq!(leader.ask(3, 3, much_later).granted, Err(Refusal::NoQuorum), "its echo is the first one's");
    leader.grants.follow();
    assert_eq!(leader.ask(2, 2, much_later).granted, Err(Refusal::NotLeader));
}

/// Node 2 says from the beginning that it cannot reach node 3. Returns what is decided about node 3, and how long after it
/// was refused the first time. It may take its leave then; a late request that looks like that comes in any case.
fn until_given_up(takes_leave: bool) -> (GiveUp, u64) {
    let mut leader = Leader::new(3);
    let mut refused_at = None;
    for now in (START..).step_by(SECOND as usize / 4) {
        leader.refresh(4, true, now);
        leader.ask(1, 1, now);
        let (echo, before) = (leader.echoes[2], leader.echoes[3]);
        let unreachable = BTreeSet::from([3]);
        let request = Request { node_id: 2, term: 7, incarnation: 1, epoch: 2, echo, unreachable, ..told() };
        leader.echoes[2] = leader.grants.renew(request, now).clock;
        let is_refused = matches!(leader.ask(3, 3, now).granted, Err(Refusal::GivingUp(_)));
        assert!(refused_at.is_none() || is_refused, "nothing after the decision");
        if is_refused && refused_at.is_none() {
            refused_at = Some(now);
            let late = Request { node_id: 3, term: 7, incarnation: 1, echo: before, ..told() };
            leader.grants.renew(late, now);
            if takes_leave {
                leader.ask(3, 0, now);
            }
        }
        if let Some(given_up) = leader.grants.decide(now).first() {
            return (*given_up, now - refused_at.unwrap());
        }
    }
    unreachable!()
}

#[test]
fn whoever_takes_its_leave_is_not_waited_for() {
    let expected = GiveUp { node_id: 3, epoch: 3, reason: GiveUpReason::Unreachable };
    let (given_up, after) = until_given_up(false);
    assert_eq!(given_up, expected);
    assert!(after >= 5 * SECOND, "its lease has to run out: a request from before the decision says nothing");
    assert_eq!(until_given_up(true), (expected, SECOND), "only the margin");
}

#[test]
fn a_release_that_cannot_write_the_format_of_the_cluster_gets_no_lease() {
    let mut leader = Leader::new(3);
    let now = START + SECOND;
    for (node_id, moment) in [(1, START), (2, START), (1, now), (2, now)] {
        leader.refresh(4, true, moment);
        leader.ask(node_id, node_id, moment);
    }
    let ask = |leader: &mut Leader, formats| {
        let asked = Request { node_id: 2, term: 7, incarnation: 1, epoch: 2, formats, ..Request::default() };
        leader.refresh(4, true, now);
        let Answer { granted, may_register, .. } = leader.grants.renew(asked, now);
        (granted.map(drop).map_err(|refusal| refusal.to_string()), may_register)
    };
    let (old, both) = (Formats::told(1, 1), Formats::told(1, 2));
    assert_eq!((ask(&mut leader, old), ask(&mut leader, both)), ((Ok(()), true), (Ok(()), true)));
    let nonsense = "the formats that the node writes make no sense".to_owned();
    assert_eq!(ask(&mut leader, None), (Err(nonsense), false));
    let set = SystemChange::SetFormat(SetFormat { format: 2 });
    leader.nodes.apply(4, &SystemCommand { change: Some(set) });
    let (refused, may_register) = ask(&mut leader, old);
    assert!(
        refused.is_err_and(|reason| reason.contains("writes format 2, this release writes 1"))
            && !may_register
    );
    assert_eq!(ask(&mut leader, both), (Ok(()), true));
}
