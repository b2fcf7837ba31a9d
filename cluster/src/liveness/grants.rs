//! The leader's side of leases, without clock and network: who may serve until when, and who is given up.
//!
//! Why it is safe. `Q` ([`Grants::quorum_time`]) is a moment of the leader's clock such that a quorum of voters was
//! still with this leader at or after it: each of them has sent a clock value of the leader back (the *echo*) while its
//! stored vote named this leader, and it got that value no earlier than the leader's clock showed it. Another leader
//! could be elected only after `Q`, by a vote of one of them. Every lease ends at `Q` + lease or before. So a leader
//! that waits a lease from its own election on knows that all leases of the leader before are over, and a deposed
//! leader cannot prolong any, because its `Q` stands still.
//!
//! A node is given up only after its lease has run out by the clock of the leader, and a margin: between the check of
//! its lease and the end of what it does then, some time passes. From the decision on, it is granted nothing.
//!
//! Another leader may find such a decision in the log that it takes over. So a leader grants nothing before it has
//! applied all entries that were in its log when it began, and one of its own.
//!
//! All times are nanoseconds of [`crate::lease::now_ns`] of the leader's machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::cliques::Cliques;
use crate::formats::{Formats, OtherFormat};
use crate::nodes::Nodes;
use crate::record::GiveUpReason;

/// A node whose epoch shall end is proposed again after this time, if that has not happened.
const PROPOSE_AGAIN_NS: u64 = 2_000_000_000;
/// Added to a tenth of the lease: how long a node may still be busy with what it began under its lease.
const MARGIN_MIN_NS: u64 = 500_000_000;
/// A node that is behind and makes no progress for this many leases holds up everybody who waits for it.
const STALLED_LEASES: u64 = 2;

/// What never changes while a node runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) own_id: u64,
    pub(crate) lease_ns: u64,
    /// From the end of a lease until the node may be given up.
    pub(crate) margin_ns: u64,
}

impl Settings {
    pub(crate) fn new(own_id: u64, lease: Duration) -> Settings {
        let lease_ns = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX / 4);
        Settings { own_id, lease_ns, margin_ns: lease_ns / 10 + MARGIN_MIN_NS }
    }
}

/// How a leadership begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beginning {
    pub(crate) term: u64,
    /// Tells apart the Raft cores of this process: one that is restarted goes on in its term.
    pub(crate) generation: u64,
    /// Index of the last entry in the log. What is up to it must be applied before anything is granted.
    pub(crate) log_end: u64,
    /// Random, so that an echo of another leadership is not taken for one of this.
    pub(crate) clock_base: u64,
}

/// What the leader's replica has applied, and who votes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    pub(crate) applied_index: u64,
    /// Whether the last applied entry was written by this leadership.
    pub(crate) is_own_entry: bool,
    pub(crate) nodes: &'a Nodes,
    /// The effective membership; two sets while it changes.
    pub(crate) voters: &'a [BTreeSet<u64>],
}

/// What a node tells when it asks for a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) node_id: u64,
    pub(crate) term: u64,
    pub(crate) incarnation: u64,
    /// 0 while it is not registered or has taken leave of its epoch.
    pub(crate) epoch: u64,
    pub(crate) applied_index: u64,
    pub(crate) effective_index: u64,
    pub(crate) log_index: u64,
    pub(crate) echo: u64,
    pub(crate) unreachable: BTreeSet<u64>,
    pub(crate) version: String,
    /// What it can write; `None` if it told nonsense.
    pub(crate) formats: Option<Formats>,
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// How long the node may serve from the moment of its request, or why not.
    pub(crate) granted: Result<u64, Refusal>,
    /// To be sent back as `echo`; 0 from a node that does not lead.
    pub(crate) clock: u64,
    /// Whether nothing that the leader knows speaks against registering now.
    pub(crate) may_register: bool,
    /// How far the leader's replica is.
    pub(crate) applied_index: u64,
}

/// Why there is no lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the asked node does not lead")]
    NotLeader,
    #[error("the request is of another term")]
    OtherTerm,
    #[error("the leader is still applying its log")]
    NotReady,
    #[error("the node is not registered in this epoch")]
    OtherEpoch,
    #[error("the node is being given up: {0}")]
    GivingUp(GiveUpReason),
    #[error("the leader has not heard from a quorum")]
    NoQuorum,
    #[error("the formats that the node writes make no sense")]
    NoFormats,
    #[error("{0}")]
    OtherFormat(OtherFormat),
}

/// A node whose epoch the leader must end now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GiveUp {
    pub(crate) node_id: u64,
    pub(crate) epoch: u64,
    pub(crate) reason: GiveUpReason,
}

/// What the leader knows about a node.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// When it last asked, 0 if never under this leader.
    pub(crate) heard_at: u64,
    /// The latest moment of the leader's clock at which it was certainly with this leader.
    acknowledged_at: Option<u64>,
    /// The epoch that it has in the applied table, 0 if none.
    pub(crate) epoch: u64,
    incarnation: u64,
    /// When the last lease was granted in this epoch; at first when the leader saw the epoch.
    granted_at: u64,
    /// Since when the node has certainly no lease although the last grant has not run out.
    relinquished_at: Option<u64>,
    pub(crate) condemned: Option<Condemned>,
    pub(crate) applied_index: u64,
    pub(crate) effective_index: u64,
    /// Where it has to get, and since when it makes no progress on the way.
    target_index: u64,
    progress_at: u64,
    pub(crate) log_index: u64,
    pub(crate) unreachable: BTreeSet<u64>,
    pub(crate) version: String,
    /// What it can write, as far as it has told.
    pub(crate) formats: Option<Formats>,
}

/// The decision to give a node up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Condemned {
    pub(crate) reason: GiveUpReason,
    at: u64,
    proposed_at: Option<u64>,
}

/// The leader's knowledge; empty while this node does not lead.
#[derive(Debug)]
pub(crate) struct Grants {
    settings: Settings,
    leadership: Option<Leadership>,
}

#[derive(Debug)]
struct Leadership {
    beginning: Beginning,
    /// When this node found itself the leader; not earlier than its election.
    elected_at: u64,
    /// Since when silence says something about a node: before, the leader itself was cut off.
    silence_since: u64,
    is_ready: bool,
    applied_index: u64,
    voters: Vec<BTreeSet<u64>>,
    /// What the cluster writes; 0 if nothing is on record.
    format: u32,
    nodes: BTreeMap<u64, Known>,
    cliques: Cliques,
}

impl Grants {
    pub(crate) fn new(settings: Settings) -> Grants {
        Grants { settings, leadership: None }
    }

    /// Whose grants these are.
    pub(crate) fn own_id(&self) -> u64 {
        self.settings.own_id
    }

    /// The term in which this node leads.
    pub(crate) fn term(&self) -> Option<u64> {
        self.leadership.as_ref().map(|leadership| leadership.beginning.term)
    }

    /// This node leads. Changes nothing when it is known already.
    pub(crate) fn lead(&mut self, beginning: Beginning, now: u64) {
        if self.is_leading(beginning.term, beginning.generation) {
            return;
        }
        self.leadership = Some(Leadership {
            beginning,
            elected_at: now,
            silence_since: now,
            is_ready: false,
            applied_index: 0,
            voters: Vec::new(),
            format: 0,
            nodes: BTreeMap::new(),
            cliques: Cliques::default(),
        });
    }

    /// This node does not lead, or not for certain.
    pub(crate) fn follow(&mut self) {
        self.leadership = None;
    }

    /// Whether exactly this leadership is known.
    pub(crate) fn is_leading(&self, term: u64, generation: u64) -> bool {
        self.leadership.as_ref().is_some_and(|leadership| {
            leadership.beginning.term == term && leadership.beginning.generation == generation
        })
    }

    /// Takes note of what is applied. Must come before each question of the same moment.
    pub(crate) fn refresh(&mut self, ground: &Ground<'_>, now: u64) {
        let own_id = self.settings.own_id;
        let Some(leadership) = &mut self.leadership else { return };
        leadership.applied_index = ground.applied_index;
        leadership.is_ready |= ground.is_own_entry && ground.applied_index >= leadership.beginning.log_end;
        leadership.voters = ground.voters.to_vec();
        leadership.format = ground.nodes.format();
        let is_of_interest = |node_id: &u64| {
            *node_id == own_id
                || ground.nodes.epoch(*node_id).is_some()
                || ground.nodes.get(*node_id).is_some_and(|node| !node.removed)
                || ground.voters.iter().any(|set| set.contains(node_id))
        };
        leadership.nodes.retain(|node_id, _| is_of_interest(node_id));
        for node_id in ground.nodes.registered() {
            let known = leadership.nodes.entry(node_id).or_insert_with(|| Known::new(now));
            let (epoch, incarnation) =
                ground.nodes.get(node_id).map_or((0, 0), |node| (node.epoch, node.incarnation));
            known.begin(epoch, incarnation, ground.applied_index, now);
        }
        for (node_id, known) in &mut leadership.nodes {
            if ground.nodes.epoch(*node_id).is_none() {
                known.begin(0, 0, ground.applied_index, now);
            }
        }
    }

    /// Answers a node that asks for a lease. `self.refresh` must have been called for the same `now`.
    pub(crate) fn renew(&mut self, request: Request, now: u64) -> Answer {
        let Some(leadership) = &mut self.leadership else {
            return Answer {
                granted: Err(Refusal::NotLeader),
                clock: 0,
                may_register: false,
                applied_index: 0,
            };
        };
        let (applied_index, clock) = (leadership.applied_index, leadership.clock(now));
        if request.term != leadership.beginning.term {
            let granted = Err(Refusal::OtherTerm);
            return Answer { granted, clock: 0, may_register: false, applied_index };
        }
        let (node_id, epoch, incarnation) = (request.node_id, request.epoch, request.incarnation);
        leadership.hear(request, now);
        let granted = leadership.grant(&self.settings, node_id, (epoch, incarnation), now);
        let may_register = leadership.may_register(&self.settings, node_id, now);
        Answer { granted, clock, may_register, applied_index }
    }

    /// The latest moment at which a quorum was certainly with this leader. `None` if it does not lead or has not heard
    /// from enough voters.
    pub(crate) fn quorum_time(&self, now: u64) -> Option<u64> {
        self.leadership.as_ref()?.quorum_time(self.settings.own_id, now)
    }

    /// Who must be given up now. `self.refresh` must have been called for the same `now`. A node is named again after
    /// a while as long as it keeps its epoch.
    pub(crate) fn decide(&mut self, now: u64) -> Vec<GiveUp> {
        let settings = self.settings;
        let Some(leadership) = &mut self.leadership else { return Vec::new() };
        if !leadership.is_ready {
            return Vec::new();
        }
        if leadership.lease_left(&settings, now).is_none() {
            // Whoever is silent may be so because this node was.
            leadership.silence_since = now;
            return Vec::new();
        }
        leadership.condemn_stalled(&settings, now);
        leadership.condemn_unreachable(&settings, now);
        leadership.give_up(&settings, now)
    }

    /// Whether this node leads and is the only one with a vote: then there can be no other leader.
    pub(crate) fn is_sole_voter(&self) -> bool {
        let own_id = self.settings.own_id;
        self.leadership.as_ref().is_some_and(|leadership| {
            !leadership.voters.is_empty()
                && leadership.voters.iter().all(|set| set.len() == 1 && set.contains(&own_id))
        })
    }

    /// What is known about each node, and how far the leader is; `None` while this node does not lead.
    pub(crate) fn known(&self) -> Option<(u64, &BTreeMap<u64, Known>)> {
        self.leadership.as_ref().map(|leadership| (leadership.applied_index, &leadership.nodes))
    }
}

impl Leadership {
    /// The leader's clock as others see it. It means nothing to them.
    fn clock(&self, now: u64) -> u64 {
        self.beginning.clock_base.wrapping_add(now.saturating_sub(self.elected_at)).wrapping_add(1)
    }

    /// The moment that an echo stands for, if it is one of this leadership.
    fn moment(&self, echo: u64, now: u64) -> Option<u64> {
        let since_election = echo.wrapping_sub(self.beginning.clock_base).checked_sub(1)?;
        self.elected_at.checked_add(since_election).filter(|moment| *moment <= now)
    }

    fn hear(&mut self, request: Request, now: u64) {
        let moment = if request.echo == 0 { None } else { self.moment(request.echo, now) };
        let applied_index = self.applied_index;
        let known = self.nodes.entry(request.node_id).or_insert_with(|| Known::new(now));
        known.heard_at = now;
        known.acknowledged_at = known.acknowledged_at.max(moment);
        if request.epoch == 0
            && let (Some(condemned), Some(moment)) = (known.condemned, moment)
            && moment > condemned.at
        {
            // It knows that it is given up and has ended its lease; a request from before does not say so.
            known.relinquished_at.get_or_insert(now);
        }
        if request.effective_index >= known.target_index || request.effective_index > known.effective_index {
            known.target_index = applied_index;
            known.progress_at = now;
        }
        known.applied_index = request.applied_index;
        known.effective_index = request.effective_index;
        known.log_index = request.log_index;
        known.unreachable = request.unreachable;
        known.version = request.version;
        known.formats = request.formats;
    }

    fn grant(
        &mut self,
        settings: &Settings,
        node_id: u64,
        (epoch, incarnation): (u64, u64),
        now: u64,
    ) -> Result<u64, Refusal> {
        if !self.is_ready {
            return Err(Refusal::NotReady);
        }
        let left = self.lease_left(settings, now);
        let known = self.nodes.get_mut(&node_id).ok_or(Refusal::OtherEpoch)?;
        if let Some(condemned) = known.condemned {
            return Err(Refusal::GivingUp(condemned.reason));
        }
        let formats = known.formats.ok_or(Refusal::NoFormats)?;
        formats.check(self.format).map_err(Refusal::OtherFormat)?;
        if epoch == 0 || known.epoch != epoch || known.incarnation != incarnation {
            return Err(Refusal::OtherEpoch);
        }
        let left = left.ok_or(Refusal::NoQuorum)?;
        known.granted_at = now;
        Ok(left)
    }

    /// How long a lease granted now lasts; `None` without a quorum.
    fn lease_left(&self, settings: &Settings, now: u64) -> Option<u64> {
        let quorum_time = self.quorum_time(settings.own_id, now)?;
        settings.lease_ns.checked_sub(now.saturating_sub(quorum_time)).filter(|left| *left > 0)
    }

    fn quorum_time(&self, own_id: u64, now: u64) -> Option<u64> {
        let of_set = |set: &BTreeSet<u64>| {
            let mut moments: Vec<u64> = set
                .iter()
                .filter_map(|voter| match *voter == own_id {
                    true => Some(now),
                    false => self.nodes.get(voter).and_then(|known| known.acknowledged_at),
                })
                .collect();
            moments.sort_unstable_by(|a, b| b.cmp(a));
            moments.get(set.len() / 2).copied()
        };
        // A set without a quorum makes the whole answer `None`.
        let moments: Option<Vec<u64>> = self.voters.iter().map(of_set).collect();
        moments?.into_iter().min()
    }

    fn may_register(&self, settings: &Settings, node_id: u64, now: u64) -> bool {
        let is_reported = self.live(settings, now).any(|(_, known)| known.unreachable.contains(&node_id));
        let is_condemned = self.nodes.get(&node_id).is_some_and(|known| known.condemned.is_some());
        let formats = self.nodes.get(&node_id).and_then(|known| known.formats);
        let can_write = formats.is_some_and(|formats| formats.check(self.format).is_ok());
        self.is_ready
            && self.lease_left(settings, now).is_some()
            && !is_reported
            && !is_condemned
            && can_write
    }

    /// Nodes that serve and have asked recently, so that what they say counts.
    fn live<'a>(&'a self, settings: &'a Settings, now: u64) -> impl Iterator<Item = (u64, &'a Known)> {
        let is_live = move |known: &Known| {
            known.epoch != 0
                && known.condemned.is_none()
                && known.heard_at > 0
                && now.saturating_sub(known.heard_at) <= settings.lease_ns / 2
        };
        self.nodes.iter().filter(move |(_, known)| is_live(known)).map(|(node_id, known)| (*node_id, known))
    }

    fn condemn_stalled(&mut self, settings: &Settings, now: u64) {
        let stalled: Vec<u64> = self
            .live(settings, now)
            .filter(|(node_id, known)| {
                *node_id != settings.own_id
                    && known.effective_index < known.target_index
                    && now.saturating_sub(known.progress_at) >= STALLED_LEASES * settings.lease_ns
            })
            .map(|(node_id, _)| node_id)
            .collect();
        stalled.into_iter().for_each(|node_id| self.condemn(node_id, GiveUpReason::Stalled, now));
    }

    fn condemn_unreachable(&mut self, settings: &Settings, now: u64) {
        let live: BTreeMap<u64, &BTreeSet<u64>> =
            self.live(settings, now).map(|(node_id, known)| (node_id, &known.unreachable)).collect();
        // Taken out because `live` borrows the rest.
        let mut cliques = self.cliques.clone();
        cliques.note(&live, now);
        let victims = cliques.victims(settings.own_id, settings.lease_ns, now);
        self.cliques = cliques;
        for node_id in victims {
            self.condemn(node_id, GiveUpReason::Unreachable, now);
        }
    }

    fn condemn(&mut self, node_id: u64, reason: GiveUpReason, now: u64) {
        if let Some(known) = self.nodes.get_mut(&node_id)
            && known.epoch != 0
        {
            known.condemned.get_or_insert(Condemned { reason, at: now, proposed_at: None });
        }
    }

    fn give_up(&mut self, settings: &Settings, now: u64) -> Vec<GiveUp> {
        let mut given_up = Vec::new();
        for (node_id, known) in &mut self.nodes {
            if known.epoch == 0 || *node_id == settings.own_id {
                continue;
            }
            let run_out = known.granted_at.max(self.silence_since).saturating_add(settings.lease_ns);
            let over_at = known.relinquished_at.map_or(run_out, |relinquished| relinquished.min(run_out));
            if now < over_at.saturating_add(settings.margin_ns) {
                continue;
            }
            let silent = Condemned { reason: GiveUpReason::Silent, at: now, proposed_at: None };
            let condemned = known.condemned.get_or_insert(silent);
            let is_due = condemned.proposed_at.is_none_or(|at| now.saturating_sub(at) >= PROPOSE_AGAIN_NS);
            if is_due {
                condemned.proposed_at = Some(now);
                given_up.push(GiveUp { node_id: *node_id, epoch: known.epoch, reason: condemned.reason });
            }
        }
        given_up
    }
}

impl Known {
    fn new(now: u64) -> Known {
        Known {
            heard_at: 0,
            acknowledged_at: None,
            epoch: 0,
            incarnation: 0,
            granted_at: now,
            relinquished_at: None,
            condemned: None,
            applied_index: 0,
            effective_index: 0,
            target_index: 0,
            progress_at: now,
            log_index: 0,
            unreachable: BTreeSet::new(),
            version: String::new(),
            formats: None,
        }
    }

    /// Another epoch begins for the leader, or none: nothing that was decided about the one before counts.
    fn begin(&mut self, epoch: u64, incarnation: u64, applied_index: u64, now: u64) {
        if (self.epoch, self.incarnation) == (epoch, incarnation) {
            return;
        }
        (self.epoch, self.incarnation) = (epoch, incarnation);
        self.granted_at = now;
        self.relinquished_at = None;
        self.condemned = None;
        self.target_index = applied_index;
        self.progress_at = now;
    }
}
