//! A cluster of clocks, votes and messages, in which everything goes wrong, against the rules of `grants`.
//!
//! The log is modelled as Raft guarantees it: one committed order; a leader commits only while a majority holds its vote;
//! a new leader takes over what is committed and, by the whim of the network, some of what was not.

mod attacks;
mod process;

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::grants::{Answer, Beginning, Grants, Ground, Refusal, Request, Settings};
use crate::formats::Formats;
use crate::nodes::Nodes;
use crate::record::{GiveUpNode, RegisterNode, SystemChange, SystemCommand};
use process::{Leading, Process};

const MS: u64 = 1_000_000;
const LEASE: u64 = 5_000 * MS;
const STEP: u64 = 25 * MS;

/// A vote: term and node. The greater wins.
type Ballot = (u64, u64);

/// An entry and the leader that wrote it; `None` is a leader's blank entry.
type Logged = (Ballot, Option<SystemCommand>);

enum Message {
    Request { to: Ballot, number: u64, request: Request },
    Answer { to: u64, from: Ballot, number: u64, answer: Answer },
}

/// How bad the network and the machines are.
#[derive(Clone, Copy)]
struct Weather {
    delay_max: u64,
    /// Of 1,000 messages, and of 1,000 steps.
    lost: u32,
    crashes: u32,
    pauses: u32,
    elections: u32,
    reports: u32,
    /// How ready a leader is to commit what it has.
    commits: u32,
}

struct World {
    rng: StdRng,
    now: u64,
    weather: Weather,
    committed: Vec<Logged>,
    processes: Vec<Process>,
    messages: Vec<(u64, Message)>,
    /// Every election: when, and whose.
    elections: Vec<(u64, Ballot)>,
    message_count: u64,
    given_up: Vec<(u64, u64)>,
    fault: Option<String>,
}

impl World {
    fn new(seed: u64, count: u64, weather: Weather) -> World {
        let mut rng = StdRng::seed_from_u64(seed);
        let processes =
            (1..=count).map(|node_id| Process::new(node_id, rng.random_range(0..1 << 50))).collect();
        World {
            rng,
            now: 1_000 * MS,
            weather,
            committed: Vec::new(),
            processes,
            messages: Vec::new(),
            elections: Vec::new(),
            message_count: 0,
            given_up: Vec::new(),
            fault: None,
        }
    }

    fn chance(&mut self, per_thousand: u32) -> bool {
        self.rng.random_range(0..1000) < per_thousand
    }

    fn nodes(&self, applied: usize) -> Nodes {
        let mut nodes = Nodes::default();
        for (place, (_, command)) in self.committed[..applied].iter().enumerate() {
            if let Some(command) = command {
                nodes.apply(place as u64 + 1, command);
            }
        }
        nodes
    }

    fn run(&mut self, until: u64) {
        while self.now < until && self.fault.is_none() {
            self.now += STEP;
            self.disturb();
            for index in 0..self.processes.len() {
                if self.processes[index].is_running(self.now) {
                    self.act(index);
                }
            }
            self.deliver();
            let is_led = self
                .elections
                .last()
                .is_some_and(|(_, (_, leader))| self.processes[*leader as usize - 1].is_running(self.now));
            let per_thousand = self.weather.elections;
            if !is_led && self.chance(30) || self.chance(per_thousand) {
                self.elect();
            }
        }
    }

    fn disturb(&mut self) {
        for index in 0..self.processes.len() {
            let Weather { crashes, pauses, reports, .. } = self.weather;
            if self.processes[index].is_up && self.chance(crashes) {
                self.processes[index].crash();
            } else if !self.processes[index].is_up && crashes > 0 && self.chance(8) {
                self.processes[index].restart(self.now);
            }
            if self.chance(pauses) {
                self.processes[index].paused_until = self.now + self.rng.random_range(0..20_000) * MS;
            }
            if self.chance(reports) {
                let other = self.rng.random_range(1..=self.processes.len() as u64);
                let unreachable = &mut self.processes[index].unreachable;
                if !unreachable.remove(&other) && other != index as u64 + 1 {
                    unreachable.insert(other);
                }
            }
        }
    }

    /// Any node that gets a majority of votes; only the votes matter for leases.
    fn elect(&mut self) {
        let running: Vec<usize> =
            (0..self.processes.len()).filter(|index| self.processes[*index].is_running(self.now)).collect();
        if running.len() <= self.processes.len() / 2 {
            return;
        }
        let winner = running[self.rng.random_range(0..running.len())];
        let node_id = self.processes[winner].node_id;
        let mut voters = running;
        while voters.len() > self.processes.len() / 2 + 1 {
            let place = self.rng.random_range(0..voters.len());
            if voters[place] != winner {
                voters.swap_remove(place);
            }
        }
        let highest = voters.iter().map(|voter| self.processes[*voter].ballot).max().unwrap();
        // The library lets a node with a higher identifier win in the same term.
        let ballot = if highest.1 < node_id { (highest.0.max(1), node_id) } else { (highest.0 + 1, node_id) };
        for voter in voters {
            let process = &mut self.processes[voter];
            process.ballot = ballot;
            if voter != winner {
                process.leading = None;
            }
        }
        // What former leaders wrote and did not commit may or may not be in the winner's log.
        let committed = self.committed.len();
        let mut tail = Vec::new();
        for index in 0..self.processes.len() {
            if let Some(leading) = &self.processes[index].leading
                && leading.tail_base == committed
                && leading.tail.len() > tail.len()
            {
                let length = if index == winner {
                    leading.tail.len()
                } else {
                    self.rng.random_range(0..=leading.tail.len())
                };
                tail = leading.tail[..length].to_vec();
            }
        }
        tail.push((ballot, None));
        self.elections.push((self.now, ballot));
        let settings = Settings::new(node_id, Duration::from_nanos(LEASE));
        let notices_at = self.now + self.rng.random_range(0..400) * MS;
        let process = &mut self.processes[winner];
        let applied = process.applied;
        process.notices_at = notices_at;
        process.leading = Some(Leading {
            ballot,
            grants: Grants::new(settings),
            tail,
            tail_base: committed,
            applied,
            next_decision: 0,
        });
    }

    fn act(&mut self, index: usize) {
        let process = &self.processes[index];
        if let Some(leading) = &process.leading
            && leading.ballot != process.ballot
        {
            self.processes[index].leading = None;
        }
        self.lead(index);
        let committed = self.committed.len();
        let lag = self.rng.random_range(0..4);
        let process = &mut self.processes[index];
        process.applied = process.applied.max(committed.saturating_sub(lag)).min(committed);
        self.ask(index);
    }

    /// A leader commits, learns, and decides.
    fn lead(&mut self, index: usize) {
        self.beat(index);
        self.commit(index);
        if self.refreshed(index).is_none() {
            return;
        }
        let local = self.processes[index].clock(self.now);
        let Some(leading) = &mut self.processes[index].leading else { return };
        if local < leading.next_decision {
            return;
        }
        leading.next_decision = local + 250 * MS;
        for given_up in leading.grants.decide(local) {
            let change = SystemChange::GiveUp(GiveUpNode {
                node_id: given_up.node_id,
                epoch: given_up.epoch,
                reason: given_up.reason.into(),
                ..GiveUpNode::default()
            });
            leading.tail.push((leading.ballot, Some(SystemCommand { change: Some(change) })));
        }
    }

    /// Makes the grants of a leader know what it knows now. `None` while it has not noticed that it leads.
    fn refreshed(&mut self, index: usize) -> Option<()> {
        let base = self.rng.random();
        let voters = [self.processes.iter().map(|process| process.node_id).collect::<BTreeSet<u64>>()];
        let process = &self.processes[index];
        let (now, generation) = (process.clock(self.now), process.generation);
        let leading = process.leading.as_ref().filter(|_| self.now >= process.notices_at)?;
        let nodes = self.nodes(leading.applied);
        let last = leading.applied.checked_sub(1).map(|place| self.committed[place].0);
        let ground = Ground {
            applied_index: leading.applied as u64,
            is_own_entry: last == Some(leading.ballot),
            nodes: &nodes,
            voters: &voters,
        };
        let leading = self.processes[index].leading.as_mut()?;
        let log_end = (leading.tail_base + leading.tail.len()) as u64;
        let beginning = Beginning { term: leading.ballot.0, generation, log_end, clock_base: base };
        leading.grants.lead(beginning, now);
        leading.grants.refresh(&ground, now);
        Some(())
    }

    /// Heartbeats: who has voted for nobody greater follows.
    fn beat(&mut self, index: usize) {
        let Some(ballot) = self.processes[index].leading.as_ref().map(|leading| leading.ballot) else {
            return;
        };
        for other in 0..self.processes.len() {
            let lost = self.weather.lost;
            if self.chance(100) && !self.chance(lost) {
                let process = &mut self.processes[other];
                if process.is_running(self.now) && process.ballot < ballot {
                    process.ballot = ballot;
                    process.leading = None;
                }
            }
        }
    }

    fn commit(&mut self, index: usize) {
        let commits = self.weather.commits;
        if !self.chance(commits) {
            return;
        }
        let Some(ballot) = self.processes[index].leading.as_ref().map(|leading| leading.ballot) else {
            return;
        };
        let with_it = self
            .processes
            .iter()
            .filter(|process| process.ballot == ballot && process.is_running(self.now))
            .count();
        if with_it <= self.processes.len() / 2 {
            return;
        }
        let leading = self.processes[index].leading.as_mut().unwrap();
        assert_eq!(leading.tail_base, self.committed.len(), "nobody else commits meanwhile");
        let own = leading.tail.iter().position(|(author, _)| *author == ballot);
        let Some(own) = own else { return };
        // Entries of former leaders are committed only together with an own one.
        let least = own + 1;
        let length = self.rng.random_range(least..=leading.tail.len());
        let entries: Vec<Logged> = leading.tail.drain(..length).collect();
        for (author, command) in entries {
            let place = self.committed.len() as u64 + 1;
            let mut nodes = self.nodes(self.committed.len());
            let changed = command.as_ref().and_then(|command| nodes.apply(place, command));
            if let Some(crate::replica::NodeChange::GivenUp { node_id, epoch }) = changed {
                self.check_given_up(node_id, epoch);
            }
            self.committed.push((author, command));
        }
        let committed = self.committed.len();
        let leading = self.processes[index].leading.as_mut().unwrap();
        leading.tail_base = committed;
        leading.applied = committed;
    }

    fn check_given_up(&mut self, node_id: u64, epoch: u64) {
        let process = &self.processes[node_id as usize - 1];
        if process.lease_epoch == epoch && process.lease_until > process.clock(self.now) {
            self.fault = Some(format!("node {node_id} was given up under its lease of epoch {epoch}"));
        }
        self.given_up.push((self.now, node_id));
    }

    /// Sends a request if it is time, and asks to be registered.
    fn ask(&mut self, index: usize) {
        let nodes = self.nodes(self.processes[index].applied);
        let wants = self.chance(50);
        let now = self.now;
        let process = &mut self.processes[index];
        let local = process.clock(now);
        let known = nodes.get(process.node_id);
        let epoch = known.filter(|node| node.incarnation == process.incarnation).map_or(0, |node| node.epoch);
        if process.lease_epoch != epoch {
            (process.lease_epoch, process.lease_until) = (epoch, 0);
        }
        if process.waiting.is_some_and(|(_, sent)| local >= sent + 1_000 * MS) {
            process.waiting = None;
        }
        let (ballot, may_register) = (process.ballot, process.may_register);
        if epoch == 0 && may_register && wants {
            let register = RegisterNode {
                node_id: process.node_id,
                incarnation: process.incarnation,
                after_epoch: known.map_or(0, crate::nodes::last_epoch),
            };
            process.may_register = false;
            let command = SystemCommand { change: Some(SystemChange::Register(register)) };
            self.propose(ballot, command);
        }
        let process = &mut self.processes[index];
        if process.waiting.is_some() || local < process.next_request || ballot.0 == 0 {
            return;
        }
        process.next_request = local + 500 * MS;
        self.message_count += 1;
        process.waiting = Some((self.message_count, local));
        let is_relinquished = process.relinquished == Some((ballot, epoch));
        let request = Request {
            node_id: process.node_id,
            term: ballot.0,
            incarnation: process.incarnation,
            epoch: if is_relinquished { 0 } else { epoch },
            applied_index: process.applied as u64,
            effective_index: process.applied as u64,
            log_index: process.applied as u64,
            echo: process.echo.filter(|(of, _)| *of == ballot).map_or(0, |(_, clock)| clock),
            unreachable: process.unreachable.clone(),
            version: String::new(),
            formats: Formats::told(1, 1),
        };
        let is_own = ballot.1 == process.node_id;
        let message = Message::Request { to: ballot, number: self.message_count, request };
        self.send(message, is_own);
    }

    fn propose(&mut self, ballot: Ballot, command: SystemCommand) {
        let leader = &mut self.processes[ballot.1 as usize - 1];
        if let Some(leading) = leader.leading.as_mut().filter(|leading| leading.ballot == ballot) {
            leading.tail.push((ballot, Some(command)));
        }
    }

    fn send(&mut self, message: Message, is_own: bool) {
        let Weather { lost, delay_max, .. } = self.weather;
        if is_own {
            self.messages.push((self.now, message));
        } else if !self.chance(lost) {
            let delay = self.rng.random_range(0..=delay_max);
            self.messages.push((self.now + delay, message));
        } else if self.chance(300) {
            // Nobody waits for it any more, and yet it comes.
            let delay = self.rng.random_range(0..15_000) * MS;
            self.messages.push((self.now + delay, message));
        }
    }

    fn deliver(&mut self) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.messages).into_iter().partition(|(at, _)| *at <= self.now);
        self.messages = later;
        for (at, message) in due {
            let receiver = match &message {
                Message::Request { to, .. } => to.1,
                Message::Answer { to, .. } => *to,
            };
            let process = &self.processes[receiver as usize - 1];
            if !process.is_up {
                continue;
            }
            if !process.is_running(self.now) {
                self.messages.push((at, message));
                continue;
            }
            match message {
                Message::Request { to, number, request } => self.answer(to, number, request),
                Message::Answer { from, number, answer, .. } => {
                    self.hear(receiver as usize - 1, from, number, &answer);
                }
            }
        }
    }

    fn answer(&mut self, to: Ballot, number: u64, request: Request) {
        let index = to.1 as usize - 1;
        let process = &self.processes[index];
        let is_leading =
            process.ballot == to && process.leading.as_ref().is_some_and(|leading| leading.ballot == to);
        if !is_leading || self.refreshed(index).is_none() {
            return;
        }
        let local = self.processes[index].clock(self.now);
        let sender = request.node_id;
        let leading = self.processes[index].leading.as_mut().unwrap();
        let answer = leading.grants.renew(request, local);
        self.send(Message::Answer { to: sender, from: to, number, answer }, sender == to.1);
    }

    fn hear(&mut self, index: usize, from: Ballot, number: u64, answer: &Answer) {
        let now = self.now;
        let process = &mut self.processes[index];
        let Some((_, sent)) = process.waiting.filter(|(waiting, _)| *waiting == number) else { return };
        process.waiting = None;
        process.may_register = answer.may_register;
        if answer.clock != 0 {
            process.echo = Some((from, answer.clock));
        }
        match answer.granted {
            Ok(valid) => {
                process.lease_until = process.lease_until.max(sent + valid);
                let until = process.lease_until - process.clock_offset;
                let later = self.elections.iter().find(|(_, ballot)| *ballot > from);
                if let Some((elected_at, _)) = later
                    && until > elected_at + LEASE
                    && sent + valid == self.processes[index].lease_until
                {
                    self.fault = Some(format!("a grant of {from:?} outlives the election at {elected_at}"));
                }
            }
            Err(Refusal::GivingUp(_)) => {
                process.lease_until = 0;
                process.relinquished = Some((from, process.lease_epoch));
                process.next_request = process.clock(now);
            }
            Err(_) => process.next_request = process.next_request.min(process.clock(now) + 100 * MS),
        }
    }

    fn has_lease(&self, index: usize) -> bool {
        let process = &self.processes[index];
        process.is_up && process.lease_until > process.clock(self.now)
    }
}
