//! When a change of the membership is allowed. Pure: what is known goes in, a verdict comes out.

use std::collections::{BTreeMap, BTreeSet};

/// A learner that is further behind than this many log entries does not become a voter: until it has caught
/// up, the quorum would rest on the others alone.
pub(crate) const PROMOTION_LAG_MAX: u64 = 500;
/// Most voters. More make each commit slower and lose nothing less.
pub(crate) const VOTERS_MAX: usize = 5;
/// Voters that a cluster makes by itself as soon as it has the nodes.
pub(crate) const VOTERS_WANTED: usize = 3;

/// What the leader knows when it decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Situation {
    /// The node that decides.
    pub(crate) leader: u64,
    /// Nodes with a vote.
    pub(crate) voters: BTreeSet<u64>,
    /// Nodes without one.
    pub(crate) learners: BTreeSet<u64>,
    /// Nodes that serve: they are reachable and have renewed their lease.
    pub(crate) registered: BTreeSet<u64>,
    /// Nodes that were started to stay learners.
    pub(crate) never_vote: BTreeSet<u64>,
    /// Identifiers that are never heard again.
    pub(crate) removed: BTreeSet<u64>,
    /// How many log entries each node lacks; absent while the leader has heard nothing of it.
    pub(crate) lag: BTreeMap<u64, u64>,
}

/// Why a change is refused. Each names its rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("node {0} is not a member of this cluster")]
    Unknown(u64),
    #[error("node {0} was removed; its identifier is never used again")]
    Removed(u64),
    #[error("node {0} is the last voter; a cluster needs one")]
    LastVoter(u64),
    #[error("node {0} is the leader; transfer leadership to another voter first")]
    Leader(u64),
    #[error(
        "without node {node_id} only {healthy} of {voters} voters would be reachable, and {needed} must be; \
         bring nodes back or add voters first"
    )]
    QuorumWouldBeLost { node_id: u64, healthy: usize, voters: usize, needed: usize },
    #[error("only {healthy} of {voters} voters are reachable, and a change needs {needed}")]
    NoQuorum { healthy: usize, voters: usize, needed: usize },
    #[error("node {0} is a voter already; only a learner can be promoted")]
    NotLearner(u64),
    #[error("node {0} is a learner; only a voter can lead")]
    NotVoter(u64),
    #[error("node {0} does not serve at present; it must be reachable and have registered")]
    NotRegistered(u64),
    #[error(
        "node {node_id} lacks {lag} log entries, at most {PROMOTION_LAG_MAX} are allowed; \
         wait until it has caught up"
    )]
    LagTooLarge { node_id: u64, lag: u64 },
    #[error("the leader has heard nothing of the log of node {0}; wait until it has caught up")]
    LagUnknown(u64),
    #[error("node {0} was started with cluster.vote = false; it stays a learner")]
    NeverVotes(u64),
    #[error("there are {VOTERS_MAX} voters already, which is the most")]
    EnoughVoters,
}

/// What the operator should know although the change is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Warning {
    #[error("{voters} voters survive no more losses than {} do; an odd number is better", voters - 1)]
    EvenVoters { voters: usize },
}

/// The smallest majority of `voters` nodes.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

impl Situation {
    fn is_healthy(&self, node_id: u64) -> bool {
        (node_id == self.leader || self.registered.contains(&node_id)) && !self.removed.contains(&node_id)
    }

    fn healthy(&self, voters: &BTreeSet<u64>) -> usize {
        voters.iter().filter(|node_id| self.is_healthy(**node_id)).count()
    }

    fn known(&self, node_id: u64) -> Result<(), Refusal> {
        if self.voters.contains(&node_id) || self.learners.contains(&node_id) {
            return Ok(());
        }
        let removed = self.removed.contains(&node_id);
        Err(if removed { Refusal::Removed(node_id) } else { Refusal::Unknown(node_id) })
    }

    /// Whether any change can be committed now.
    pub(crate) fn can_commit(&self) -> Result<(), Refusal> {
        let (healthy, voters) = (self.healthy(&self.voters), self.voters.len());
        let needed = majority(voters);
        if healthy < needed { Err(Refusal::NoQuorum { healthy, voters, needed }) } else { Ok(()) }
    }

    /// Whether the cluster could not commit any more if the voter were gone for good.
    pub(crate) fn would_lose_quorum(&self, node_id: u64) -> Result<(), Refusal> {
        if !self.voters.contains(&node_id) {
            return Ok(());
        }
        let mut rest = self.voters.clone();
        rest.remove(&node_id);
        if rest.is_empty() {
            return Err(Refusal::LastVoter(node_id));
        }
        let (healthy, voters) = (self.healthy(&rest), rest.len());
        let needed = majority(voters);
        if healthy < needed {
            Err(Refusal::QuorumWouldBeLost { node_id, healthy, voters, needed })
        } else {
            Ok(())
        }
    }

    /// Whether the member may be removed.
    pub(crate) fn removal(&self, node_id: u64) -> Result<(), Refusal> {
        self.known(node_id)?;
        if self.voters.len() == 1 && self.voters.contains(&node_id) {
            return Err(Refusal::LastVoter(node_id));
        }
        if node_id == self.leader {
            return Err(Refusal::Leader(node_id));
        }
        self.can_commit()?;
        self.would_lose_quorum(node_id)
    }

    /// Whether the learner may become a voter.
    pub(crate) fn promotion(&self, node_id: u64) -> Result<Option<Warning>, Refusal> {
        self.known(node_id)?;
        if self.removed.contains(&node_id) {
            return Err(Refusal::Removed(node_id));
        }
        if !self.learners.contains(&node_id) {
            return Err(Refusal::NotLearner(node_id));
        }
        if self.never_vote.contains(&node_id) {
            return Err(Refusal::NeverVotes(node_id));
        }
        if self.voters.len() >= VOTERS_MAX {
            return Err(Refusal::EnoughVoters);
        }
        self.can_commit()?;
        self.is_fit(node_id)?;
        let voters = self.voters.len() + 1;
        Ok(voters.is_multiple_of(2).then_some(Warning::EvenVoters { voters }))
    }

    /// Whether leadership may go to the node. `Ok(false)`: it leads already.
    pub(crate) fn transfer(&self, node_id: u64) -> Result<bool, Refusal> {
        self.known(node_id)?;
        if self.removed.contains(&node_id) {
            return Err(Refusal::Removed(node_id));
        }
        if !self.voters.contains(&node_id) {
            return Err(Refusal::NotVoter(node_id));
        }
        if node_id == self.leader {
            return Ok(false);
        }
        // A leader that was elected a moment ago knows of nobody's log; it waits for that.
        if !self.is_healthy(node_id) {
            return Err(Refusal::NotRegistered(node_id));
        }
        Ok(true)
    }

    fn is_fit(&self, node_id: u64) -> Result<(), Refusal> {
        if !self.is_healthy(node_id) {
            return Err(Refusal::NotRegistered(node_id));
        }
        match self.lag.get(&node_id) {
            None => Err(Refusal::LagUnknown(node_id)),
            Some(lag) if *lag > PROMOTION_LAG_MAX => Err(Refusal::LagTooLarge { node_id, lag: *lag }),
            Some(_) => Ok(()),
        }
    }

    /// The learner that becomes a voter next by itself, if there are fewer than `wanted`. Beyond three voters there are none
    /// for an even number of them, which survives no more losses than one fewer.
    pub(crate) fn next_promotion(&self, wanted: usize) -> Option<u64> {
        let fit: Vec<u64> =
            self.learners.iter().copied().filter(|node_id| self.promotion(*node_id).is_ok()).collect();
        let possible = wanted.min(VOTERS_MAX).min(self.voters.len() + fit.len());
        let target =
            if possible > VOTERS_WANTED && possible.is_multiple_of(2) { possible - 1 } else { possible };
        fit.first().copied().filter(|_| self.voters.len() < target)
    }
}

/// The number of voters that a cluster makes by itself: with how many it begins, or as many as it was told to have.
pub(crate) fn voters_wanted(expect_voters: Option<u8>, voters: Option<u8>) -> usize {
    usize::from(expect_voters.max(voters).unwrap_or_default()).max(VOTERS_WANTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(voters: &[u64], learners: &[u64], registered: &[u64]) -> Situation {
        let lag = voters.iter().chain(learners).map(|node_id| (*node_id, 0)).collect();
        Situation {
            leader: 1,
            voters: voters.iter().copied().collect(),
            learners: learners.iter().copied().collect(),
            registered: registered.iter().copied().collect(),
            lag,
            ..Situation::default()
        }
    }

    #[test]
    fn a_removal_keeps_a_reachable_majority() {
        let all = situation(&[1, 2, 3], &[], &[1, 2, 3]);
        assert_eq!(all.removal(3), Ok(()));
        let one_dead = situation(&[1, 2, 3], &[], &[1, 2]);
        assert_eq!(one_dead.removal(3), Ok(()), "the dead one");
        let refused = Refusal::QuorumWouldBeLost { node_id: 2, healthy: 1, voters: 2, needed: 2 };
        assert_eq!(one_dead.removal(2), Err(refused), "a live one");
        let two_dead = situation(&[1, 2, 3], &[], &[1]);
        let no_quorum = Refusal::NoQuorum { healthy: 1, voters: 3, needed: 2 };
        assert_eq!(two_dead.removal(3), Err(no_quorum));
        // Four voters of which two live: enough for the three that would stay, not enough to decide it.
        let half = situation(&[1, 2, 3, 4], &[], &[1, 2]);
        assert_eq!(half.removal(4), Err(Refusal::NoQuorum { healthy: 2, voters: 4, needed: 3 }));
        // Two members, one dead: it cannot be removed, the other one can never decide that alone.
        let pair = situation(&[1, 2], &[], &[1]);
        assert_eq!(pair.removal(2), Err(Refusal::NoQuorum { healthy: 1, voters: 2, needed: 2 }));
    }

    #[test]
    fn a_removal_names_what_it_cannot_do() {
        let mut cluster = situation(&[1, 2, 3], &[4], &[1, 2, 3]);
        cluster.removed.insert(7);
        assert_eq!(cluster.removal(9), Err(Refusal::Unknown(9)));
        assert_eq!(cluster.removal(7), Err(Refusal::Removed(7)));
        assert_eq!(cluster.removal(1), Err(Refusal::Leader(1)));
        assert_eq!(cluster.removal(4), Ok(()), "a learner, dead or not");
        assert_eq!(situation(&[1], &[], &[1]).removal(1), Err(Refusal::LastVoter(1)));
    }

    #[test]
    fn a_learner_is_promoted_when_it_is_reachable_and_close() {
        let mut cluster = situation(&[1, 2], &[3, 4], &[1, 2, 4]);
        assert_eq!(cluster.promotion(3), Err(Refusal::NotRegistered(3)));
        assert_eq!(cluster.promotion(2), Err(Refusal::NotLearner(2)));
        assert_eq!(cluster.promotion(5), Err(Refusal::Unknown(5)));
        assert_eq!(cluster.promotion(4), Ok(None));
        cluster.lag.insert(4, PROMOTION_LAG_MAX + 1);
        assert_eq!(
            cluster.promotion(4),
            Err(Refusal::LagTooLarge { node_id: 4, lag: PROMOTION_LAG_MAX + 1 })
        );
        cluster.lag.remove(&4);
        assert_eq!(cluster.promotion(4), Err(Refusal::LagUnknown(4)));
        let mut never = situation(&[1, 2], &[3], &[1, 2, 3]);
        never.never_vote.insert(3);
        assert_eq!(never.promotion(3), Err(Refusal::NeverVotes(3)));
        assert_eq!(never.next_promotion(3), None);
        let three = situation(&[1, 2, 3], &[4], &[1, 2, 3, 4]);
        assert_eq!(three.promotion(4), Ok(Some(Warning::EvenVoters { voters: 4 })));
        let five = situation(&[1, 2, 3, 4, 5], &[6], &[1, 2, 3, 4, 5, 6]);
        assert_eq!(five.promotion(6), Err(Refusal::EnoughVoters));
    }

    #[test]
    fn voters_are_made_until_there_are_enough() {
        assert_eq!(situation(&[1], &[2, 3], &[1, 2, 3]).next_promotion(3), Some(2));
        assert_eq!(situation(&[1], &[2, 3], &[1, 3]).next_promotion(3), Some(3), "2 is not there");
        assert_eq!(situation(&[1, 2, 3], &[4], &[1, 2, 3, 4]).next_promotion(3), None);
        assert_eq!(situation(&[1, 2, 3], &[4], &[1, 2, 3, 4]).next_promotion(5), None, "four are no better");
        assert_eq!(situation(&[1, 2, 3], &[4, 5], &[1, 2, 3, 4]).next_promotion(5), None, "5 is not there");
        assert_eq!(situation(&[1, 2, 3], &[4, 5], &[1, 2, 3, 4, 5]).next_promotion(5), Some(4));
        assert_eq!(situation(&[1, 2, 3, 4], &[5], &[1, 2, 3, 4, 5]).next_promotion(5), Some(5));
        assert_eq!(situation(&[1, 2], &[3, 4, 5], &[1, 2, 3, 4]).next_promotion(5), Some(3));
        let mut removed = situation(&[1], &[2], &[1, 2]);
        removed.removed.insert(2);
        assert_eq!(removed.next_promotion(3), None);
        let no_quorum = situation(&[1, 2], &[3], &[1, 3]);
        assert_eq!(no_quorum.next_promotion(3), None, "it could not be committed");
        assert_eq!((voters_wanted(None, None), voters_wanted(Some(1), None)), (3, 3));
        assert_eq!((voters_wanted(Some(5), None), voters_wanted(Some(3), Some(5))), (5, 5));
    }

    #[test]
    fn leadership_goes_to_a_voter_that_is_there() {
        let cluster = situation(&[1, 2, 3], &[4], &[1, 2, 4]);
        assert_eq!(cluster.transfer(2), Ok(true));
        assert_eq!(cluster.transfer(1), Ok(false));
        assert_eq!(cluster.transfer(3), Err(Refusal::NotRegistered(3)));
        assert_eq!(cluster.transfer(4), Err(Refusal::NotVoter(4)));
        assert_eq!(cluster.transfer(5), Err(Refusal::Unknown(5)));
    }
}
