//! Decides how a node with an empty data directory gets into a cluster: it founds one, joins one, or waits.
//! Pure.
//!
//! A second cluster beside the first would split what must be one, so founding is for one case only: the
//! expected number of nodes all answer, none belongs to a cluster, and each sees exactly the same nodes. Then
//! the one with the lowest name founds and the others find its cluster when they ask it next. A node that was
//! seen once is counted for as long as this process runs: were it forgotten, the rest could found while it
//! has founded already. Whoever meets a member of a cluster joins it and founds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// Nodes without a cluster that are remembered; more are not taken into account.
const CANDIDATES_MAX: usize = 16;
/// Addresses that are asked in each round; more are not taken into account.
const ADDRESSES_MAX: usize = 32;
/// An answer counts for this long.
pub(crate) const FRESH: Duration = Duration::from_secs(3);
/// Longest name and address that is taken from another node.
pub(crate) const LABEL_BYTES_MAX: usize = 255;

/// How operators and peers call a node before it has an identifier. The order decides who founds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) address: String,
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.name, self.address)
    }
}

/// What this node was started with.
#[derive(Debug, Clone)]
pub(crate) struct Myself {
    pub(crate) label: Label,
    /// Random, for the life of the process.
    pub(crate) instance: Vec<u8>,
    pub(crate) expect_voters: Option<u8>,
    /// It does not count among the founders, which do not hear of it.
    pub(crate) never_votes: bool,
    /// Addresses to ask, as the operator gave them.
    pub(crate) join: Vec<String>,
}

/// What a node without a cluster said about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) label: Label,
    pub(crate) instance: Vec<u8>,
    /// 0: none.
    pub(crate) expect_voters: u32,
    /// The nodes without a cluster that it knows, itself included.
    pub(crate) sees: BTreeSet<Label>,
}

/// What one address answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A node without a cluster, perhaps this one.
    Candidate(Sighting),
    /// A member of a cluster.
    Member { cluster_id: String, addresses: Vec<String> },
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Found a cluster.
    Found,
    /// Ask these addresses for admission to the cluster.
    Join { cluster_id: String, addresses: Vec<String> },
    /// Ask again; the text says for what or whom this node waits.
    Wait(String),
}

/// Everything that was seen so far.
pub(crate) struct Board {
    me: Myself,
    addresses: BTreeSet<String>,
    /// By address.
    seen: BTreeMap<String, (Sighting, Instant)>,
    clusters: BTreeMap<String, BTreeSet<String>>,
    /// Of `join`, those that answered.
    answered: BTreeSet<String>,
}

impl Board {
    pub(crate) fn new(me: Myself) -> Board {
        let addresses = me.join.iter().take(ADDRESSES_MAX).cloned().collect();
        Board { me, addresses, seen: BTreeMap::new(), clusters: BTreeMap::new(), answered: BTreeSet::new() }
    }

    /// Whom to ask.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.addresses.iter().cloned().collect()
    }

    /// The nodes without a cluster that this node has seen, itself included.
    pub(crate) fn sees(&self) -> BTreeSet<Label> {
        let others = self.seen.values().map(|(sighting, _)| sighting.label.clone());
        others.chain([self.me.label.clone()]).collect()
    }

    /// Notes an address that another node mentioned; it is asked in the next round.
    pub(crate) fn mention(&mut self, address: &str) {
        let usable = !address.is_empty() && address.len() <= LABEL_BYTES_MAX;
        if usable && address != self.me.label.address && self.addresses.len() < ADDRESSES_MAX {
            self.addresses.insert(address.to_owned());
        }
    }

    /// Notes what `asked` answered, with proof of the secret.
    pub(crate) fn note(&mut self, asked: &str, answer: Answer, now: Instant) {
        if self.me.join.iter().any(|address| address == asked) {
            self.answered.insert(asked.to_owned());
        }
        match answer {
            Answer::Candidate(sighting) if sighting.instance == self.me.instance => {}
            Answer::Candidate(sighting) => self.note_candidate(sighting, now),
            Answer::Member { cluster_id, addresses } => {
                let known = self.clusters.entry(cluster_id).or_default();
                for address in std::iter::once(asked.to_owned()).chain(addresses) {
                    if known.len() < ADDRESSES_MAX {
                        known.insert(address);
                    }
                }
            }
        }
    }

    fn note_candidate(&mut self, sighting: Sighting, now: Instant) {
        for label in &sighting.sees {
            self.mention(&label.address);
        }
        self.mention(&sighting.label.address);
        // A node that came back under another address is the same node, unless the old one still answers.
        let label = sighting.label.clone();
        self.seen.retain(|address, (old, at)| {
            let moved = old.label.name == label.name && *address != label.address && !is_fresh(*at, now);
            !moved
        });
        if self.seen.contains_key(&label.address) || self.seen.len() < CANDIDATES_MAX {
            self.seen.insert(label.address, (sighting, now));
        }
    }

    /// What follows from all that was seen.
    pub(crate) fn decide(&self, now: Instant) -> Decision {
        let mut clusters = self.clusters.iter();
        match (clusters.next(), clusters.next()) {
            (Some((cluster_id, addresses)), None) => {
                let addresses = addresses.iter().cloned().collect();
                return Decision::Join { cluster_id: cluster_id.clone(), addresses };
            }
            (Some(_), Some(_)) => return Decision::Wait(self.several_clusters()),
            (None, _) => {}
        }
        match self.me.expect_voters {
            None | Some(0 | 1) if self.me.join.is_empty() && !self.me.never_votes => Decision::Found,
            None | Some(0) => Decision::Wait(format!(
                "no member of a cluster answers at {}; without expected voters this node only joins",
                self.me.join.join(", ")
            )),
            Some(expected) => match self.obstacle(usize::from(expected), now) {
                Some(reason) => Decision::Wait(reason),
                None => Decision::Found,
            },
        }
    }

    fn several_clusters(&self) -> String {
        let each = |(cluster_id, addresses): (&String, &BTreeSet<String>)| {
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            format!("{cluster_id} ({})", addresses.join(", "))
        };
        let all: Vec<String> = self.clusters.iter().map(each).collect();
        format!(
            "the addresses to join belong to different clusters: {}; name one of them only",
            all.join(" and ")
        )
    }

    /// Why this node does not found yet.
    fn obstacle(&self, expected: usize, now: Instant) -> Option<String> {
        let everyone = self.sees();
        let ambiguous = self.ambiguous_name().or_else(|| self.other_expectation(expected));
        if ambiguous.is_some() {
            return ambiguous;
        }
        let silent: Vec<&str> = self
            .me
            .join
            .iter()
            .filter(|address| !self.answered.contains(*address))
            .map(String::as_str)
            .collect();
        if everyone.len() < expected || expected == 1 && !silent.is_empty() {
            let silent = if silent.is_empty() {
                String::new()
            } else {
                format!("; no answer from {}", silent.join(", "))
            };
            let known = list(&everyone);
            return Some(format!(
                "{} of {expected} expected nodes are there: {known}{silent}",
                everyone.len()
            ));
        }
        let quiet: BTreeSet<Label> = self
            .seen
            .values()
            .filter(|(_, at)| !is_fresh(*at, now))
            .map(|(old, _)| old.label.clone())
            .collect();
        if !quiet.is_empty() {
            return Some(format!("no answer any more from {}", list(&quiet)));
        }
        if let Some((other, _)) = self.seen.values().find(|(other, _)| other.sees != everyone) {
            let missing: BTreeSet<Label> = everyone.difference(&other.sees).cloned().collect();
            let more: BTreeSet<Label> = other.sees.difference(&everyone).cloned().collect();
            return Some(match missing.is_empty() {
                false => format!("{} does not see {} yet", other.label, list(&missing)),
                true => format!("{} sees {}, this node does not yet", other.label, list(&more)),
            });
        }
        let lowest = everyone.first().filter(|lowest| **lowest != self.me.label)?;
        Some(format!("{lowest} has the lowest name and is about to found the cluster"))
    }

    fn ambiguous_name(&self) -> Option<String> {
        let mut names = BTreeMap::from([(&self.me.label.name, &self.me.label.address)]);
        for (sighting, _) in self.seen.values() {
            let Label { name, address } = &sighting.label;
            if address == &self.me.label.address {
                return Some(format!("another node, {name}, advertises the address {address} of this node"));
            }
            if let Some(other) = names.insert(name, address) {
                return Some(format!(
                    "two nodes are called {name}, at {other} and {address}; give each node a name of its own"
                ));
            }
        }
        None
    }

    fn other_expectation(&self, expected: usize) -> Option<String> {
        let differs = |sighting: &&(Sighting, Instant)| sighting.0.expect_voters as usize != expected;
        self.seen.values().find(differs).map(|(other, _)| {
            let theirs = match other.expect_voters {
                0 => "no number of".to_owned(),
                number => number.to_string(),
            };
            format!(
                "{} expects {theirs} voters, this node {expected}; the number must be the same",
                other.label
            )
        })
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) <= FRESH
}

fn list(labels: &BTreeSet<Label>) -> String {
    labels.iter().map(Label::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label {
        Label { name: name.to_owned(), address: format!("{name}:8550") }
    }

    fn board(name: &str, expect_voters: Option<u8>, join: &[&str]) -> Board {
        Board::new(Myself {
            label: label(name),
            instance: name.as_bytes().to_vec(),
            expect_voters,
            never_votes: false,
            join: join.iter().map(|name| format!("{name}:8550")).collect(),
        })
    }

    fn candidate(name: &str, expect_voters: u32, sees: &[&str]) -> Answer {
        Answer::Candidate(Sighting {
            label: label(name),
            instance: name.as_bytes().to_vec(),
            expect_voters,
            sees: sees.iter().map(|name| label(name)).collect(),
        })
    }

    fn member(cluster_id: &str) -> Answer {
        Answer::Member { cluster_id: cluster_id.to_owned(), addresses: vec!["m:8550".to_owned()] }
    }

    fn waits_for(board: &Board, now: Instant, part: &str) {
        match board.decide(now) {
            Decision::Wait(reason) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_alone_founds_at_once() {
        let now = Instant::now();
        assert_eq!(board("a", None, &[]).decide(now), Decision::Found);
        assert_eq!(board("a", Some(1), &[]).decide(now), Decision::Found);
    }

    #[test]
    fn a_node_that_never_votes_founds_nothing() {
        let mut board = board("a", None, &[]);
        board.me.never_votes = true;
        waits_for(&board, Instant::now(), "only joins");
    }

    #[test]
    fn without_expected_voters_a_node_only_joins() {
        let now = Instant::now();
        let mut joiner = board("a", None, &["b", "c"]);
        waits_for(&joiner, now, "no member of a cluster answers at b:8550, c:8550");
        joiner.note("b:8550", candidate("b", 0, &["a", "b"]), now);
        waits_for(&joiner, now, "no member");
        joiner.note("c:8550", member("x"), now);
        let addresses = vec!["c:8550".to_owned(), "m:8550".to_owned()];
        assert_eq!(joiner.decide(now), Decision::Join { cluster_id: "x".to_owned(), addresses });
    }

    #[test]
    fn the_lowest_of_the_expected_nodes_founds_when_all_see_the_same() {
        let now = Instant::now();
        let all = ["a", "b", "c"];
        let mut lowest = board("a", Some(3), &all);
        waits_for(
            &lowest,
            now,
            "1 of 3 expected nodes are there: a at a:8550; no answer from a:8550, b:8550",
        );
        lowest.note("a:8550", candidate("a", 3, &["a"]), now);
        lowest.note("b:8550", candidate("b", 3, &["a", "b"]), now);
        waits_for(
            &lowest,
            now,
            "2 of 3 expected nodes are there: a at a:8550, b at b:8550; no answer from c:8550",
        );
        lowest.note("c:8550", candidate("c", 3, &all), now);
        waits_for(&lowest, now, "b at b:8550 does not see c at c:8550 yet");
        lowest.note("b:8550", candidate("b", 3, &["a", "b", "c", "d"]), now);
        waits_for(&lowest, now, "b at b:8550 sees d at d:8550, this node does not yet");
        assert!(lowest.addresses().contains(&"d:8550".to_owned()), "it is asked now");
        lowest.note("b:8550", candidate("b", 3, &all), now);
        assert_eq!(lowest.decide(now), Decision::Found);
        let mut other = board("b", Some(3), &all);
        other.note("a:8550", candidate("a", 3, &all), now);
        other.note("c:8550", candidate("c", 3, &all), now);
        waits_for(&other, now, "a at a:8550 has the lowest name");
    }

    #[test]
    fn an_answer_that_is_old_does_not_count_but_is_not_forgotten() {
        let now = Instant::now();
        let all = ["a", "b", "c"];
        let mut lowest = board("a", Some(3), &all);
        lowest.note("b:8550", candidate("b", 3, &all), now);
        lowest.note("c:8550", candidate("c", 3, &all), now);
        let later = now + FRESH * 2;
        waits_for(&lowest, later, "no answer any more from b at b:8550, c at c:8550");
        assert_eq!(lowest.sees().len(), 3);
        // The lowest has founded and is down: the others wait for it, however often they see each other.
        let mut other = board("b", Some(3), &all);
        other.note("a:8550", candidate("a", 3, &all), now);
        other.note("c:8550", candidate("c", 3, &all), later);
        waits_for(&other, later, "no answer any more from a at a:8550");
        other.note("a:8550", member("x"), later);
        assert!(matches!(other.decide(later), Decision::Join { .. }));
    }

    #[test]
    fn a_cluster_is_joined_whatever_is_expected() {
        let now = Instant::now();
        let mut lowest = board("a", Some(3), &["a", "b", "c"]);
        lowest.note("b:8550", candidate("b", 3, &["a", "b", "c"]), now);
        lowest.note("c:8550", candidate("c", 3, &["a", "b", "c"]), now);
        lowest.note("c:8550", member("x"), now);
        assert!(matches!(lowest.decide(now), Decision::Join { .. }));
        lowest.note("b:8550", member("y"), now);
        waits_for(&lowest, now, "different clusters: x (");
    }

    #[test]
    fn equal_names_and_different_expectations_are_refused() {
        let now = Instant::now();
        let mut lowest = board("a", Some(3), &["b"]);
        let mut twin = Sighting {
            label: Label { name: "a".to_owned(), address: "z:8550".to_owned() },
            instance: b"other".to_vec(),
            expect_voters: 3,
            sees: BTreeSet::new(),
        };
        lowest.note("z:8550", Answer::Candidate(twin.clone()), now);
        waits_for(&lowest, now, "two nodes are called a, at a:8550 and z:8550");
        twin.label = Label { name: "b".to_owned(), address: "a:8550".to_owned() };
        let mut lowest = board("a", Some(3), &["b"]);
        lowest.note("z:8550", Answer::Candidate(twin), now);
        waits_for(&lowest, now, "another node, b, advertises the address a:8550");
        let mut lowest = board("a", Some(3), &["b"]);
        lowest.note("b:8550", candidate("b", 5, &["a", "b"]), now);
        waits_for(&lowest, now, "b at b:8550 expects 5 voters, this node 3");
    }

    #[test]
    fn a_node_that_moved_is_one_node() {
        let now = Instant::now();
        let mut lowest = board("a", Some(3), &["b"]);
        lowest.note("b:8550", candidate("b", 3, &["a", "b"]), now);
        let moved = Sighting {
            label: Label { name: "b".to_owned(), address: "b2:8550".to_owned() },
            instance: b"b again".to_vec(),
            expect_voters: 3,
            sees: BTreeSet::new(),
        };
        lowest.note("b2:8550", Answer::Candidate(moved.clone()), now);
        waits_for(&lowest, now, "two nodes are called b");
        let later = now + FRESH * 2;
        lowest.note("b2:8550", Answer::Candidate(moved), later);
        assert_eq!(lowest.sees().len(), 2);
    }

    #[test]
    fn one_expected_voter_founds_only_when_all_it_was_told_of_have_answered() {
        let now = Instant::now();
        let mut alone = board("a", Some(1), &["a", "b"]);
        alone.note("a:8550", candidate("a", 1, &["a"]), now);
        waits_for(&alone, now, "no answer from b:8550");
        let mut alone = board("a", Some(1), &["a"]);
        alone.note("a:8550", candidate("a", 1, &["a"]), now);
        assert_eq!(alone.decide(now), Decision::Found);
    }

    #[test]
    fn what_others_mention_is_bounded() {
        let now = Instant::now();
        let mut lowest = board("a", Some(3), &["b"]);
        for number in 0..100 {
            let name = format!("n{number}");
            lowest.note("b:8550", candidate(&name, 3, &[&name]), now);
        }
        assert!(lowest.addresses().len() <= ADDRESSES_MAX);
        assert!(lowest.sees().len() <= CANDIDATES_MAX + 1);
        lowest.mention(&"x".repeat(1000));
        assert!(lowest.addresses().iter().all(|address| address.len() <= LABEL_BYTES_MAX));
    }
}
