//! A node of the simulation: its clock, its vote, its lease, and its grants while it leads.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Ballot, LEASE, Logged};
use crate::liveness::grants::{Grants, Settings};

pub(super) struct Leading {
    pub(super) ballot: Ballot,
    pub(super) grants: Grants,
    /// Entries behind the committed ones, and how many were committed when the first of them was written.
    pub(super) tail: Vec<Logged>,
    pub(super) tail_base: usize,
    pub(super) applied: usize,
    pub(super) next_decision: u64,
}

pub(super) struct Process {
    pub(super) node_id: u64,
    pub(super) incarnation: u64,
    pub(super) ballot: Ballot,
    pub(super) clock_offset: u64,
    pub(super) is_up: bool,
    pub(super) paused_until: u64,
    pub(super) applied: usize,
    pub(super) lease_until: u64,
    pub(super) lease_epoch: u64,
    pub(super) echo: Option<(Ballot, u64)>,
    pub(super) relinquished: Option<(Ballot, u64)>,
    pub(super) may_register: bool,
    /// The request whose answer is waited for: number and moment of sending on the own clock.
    pub(super) waiting: Option<(u64, u64)>,
    pub(super) next_request: u64,
    pub(super) unreachable: BTreeSet<u64>,
    pub(super) leading: Option<Leading>,
    /// The tail of the log on its disk, in case it comes back as the leader of its term.
    pub(super) generation: u64,
    /// When it was elected, until it has noticed.
    pub(super) notices_at: u64,
}

impl Process {
    pub(super) fn new(node_id: u64, clock_offset: u64) -> Process {
        Process {
            node_id,
            incarnation: 1,
            ballot: (0, 0),
            clock_offset,
            is_up: true,
            paused_until: 0,
            applied: 0,
            lease_until: 0,
            lease_epoch: 0,
            echo: None,
            relinquished: None,
            may_register: false,
            waiting: None,
            next_request: 0,
            unreachable: BTreeSet::new(),
            leading: None,
            generation: 0,
            notices_at: 0,
        }
    }

    pub(super) fn clock(&self, now: u64) -> u64 {
        now + self.clock_offset
    }

    pub(super) fn is_running(&self, now: u64) -> bool {
        self.is_up && now >= self.paused_until
    }

    pub(super) fn crash(&mut self) {
        self.is_up = false;
        (self.lease_until, self.lease_epoch) = (0, 0);
        (self.echo, self.relinquished, self.waiting) = (None, None, None);
        self.may_register = false;
    }

    /// A leader that comes back while nobody else was elected goes on in its term, with the log on its disk.
    pub(super) fn restart(&mut self, now: u64) {
        self.is_up = true;
        self.incarnation += 1;
        self.generation += 1;
        self.notices_at = now;
        self.next_request = 0;
        if let Some(leading) = &mut self.leading {
            let settings = Settings::new(self.node_id, Duration::from_nanos(LEASE));
            leading.grants = Grants::new(settings);
            leading.next_decision = 0;
        }
    }
}
