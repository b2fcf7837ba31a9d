//! What is broken, when and for how long. Pure.

use std::{fmt, time::Duration};

use rand::{Rng, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

/// A node, or whoever leads when it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader.
    Leader,
    /// A node by number.
    Node(usize),
}

/// Something that breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, then a start.
    Kill(Target),
    /// SIGKILL of all nodes at once, then a start.
    KillAll,
    /// SIGSTOP, then SIGCONT.
    Pause(Target),
    /// SIGTERM, then a start.
    Restart(Target),
    /// Some nodes are cut off from all others.
    Isolate(Vec<usize>),
    /// The target is cut off from all others.
    Alone(Target),
    /// Nothing that the first sends arrives at the second.
    OneWay(usize, usize),
    /// Nothing that the target sends arrives anywhere.
    Mute(Target),
    /// Two cannot reach each other, all others can reach both.
    Pair(usize, usize),
    /// The disk is full.
    FillDisk(Target),
}

/// A fault and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Time without a fault before it.
    pub calm: Duration,
    /// What breaks.
    pub fault: Fault,
    /// How long it stays so.
    pub lasts: Duration,
}

/// What a schedule may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes.
    pub nodes: usize,
    /// Sum of all times.
    pub total: Duration,
    /// Whether disks can be filled.
    pub disks: bool,
}

/// Longest fault, the end of SIGSTOP's range.
const FAULT_MAX_MS: u64 = 40_000;
/// Longest time between two faults.
const CALM_MAX_MS: u64 = 8_000;
/// Shortest time of either.
const TIME_MIN_MS: u64 = 300;

/// The schedule of a seed.
pub fn schedule(seed: u64, limits: Limits) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut left = u64::try_from(limits.total.as_millis()).expect("a run ends");
    // No single fault takes more than a third, so that short runs see several.
    let fault_max_ms = FAULT_MAX_MS.min(left / 3).max(TIME_MIN_MS + 1);
    let calm_max_ms = CALM_MAX_MS.min(left / 15).max(TIME_MIN_MS + 1);
    let mut steps = Vec::new();
    loop {
        let calm = random.random_range(TIME_MIN_MS..calm_max_ms);
        // Short ones are more frequent: the square of an even number.
        let part = random.random::<f64>().powi(2);
        let fault = fault(&mut random, limits);
        let long = Duration::from_millis(fault_max_ms - TIME_MIN_MS).mul_f64(part);
        let lasts = long + Duration::from_millis(TIME_MIN_MS);
        let Some(rest) = left.checked_sub(calm + u64::try_from(lasts.as_millis()).expect("short")) else {
            return steps;
        };
        left = rest;
        steps.push(Step { calm: Duration::from_millis(calm), fault, lasts });
    }
}

fn fault(random: &mut StdRng, limits: Limits) -> Fault {
    let nodes = limits.nodes;
    let (first, second) = pair(random, nodes);
    let target = if random.random_bool(0.4) { Target::Leader } else { Target::Node(first) };
    match random.random_range(0..if limits.disks { 13 } else { 12 }) {
        0 | 1 => Fault::Kill(target),
        2 => Fault::KillAll,
        3 | 4 => Fault::Pause(target),
        5 => Fault::Restart(target),
        6 => Fault::Isolate(group(random, nodes)),
        7 | 8 => Fault::Alone(target),
        9 => Fault::OneWay(first, second),
        10 => Fault::Mute(target),
        11 => Fault::Pair(first, second),
        _ => Fault::FillDisk(target),
    }
}

fn pair(random: &mut impl Rng, nodes: usize) -> (usize, usize) {
    let first = random.random_range(0..nodes);
    let second = (first + random.random_range(1..nodes)) % nodes;
    (first, second)
}

/// A part of the nodes, neither none nor all.
fn group(random: &mut StdRng, nodes: usize) -> Vec<usize> {
    let mut all: Vec<_> = (0..nodes).collect();
    all.shuffle(random);
    all.truncate(random.random_range(1..nodes));
    all.sort_unstable();
    all
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} for {:.1} s", self.fault, self.lasts.as_secs_f32())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn limits(seconds: u64) -> Limits {
        Limits { nodes: 3, total: Duration::from_secs(seconds), disks: true }
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(schedule(7, limits(600)), schedule(7, limits(600)));
        assert_ne!(schedule(7, limits(600)), schedule(8, limits(600)));
    }

    #[test]
    fn a_schedule_ends_in_time_and_is_not_empty() {
        for seed in 0..200 {
            let steps = schedule(seed, limits(60));
            let total: Duration = steps.iter().map(|step| step.calm + step.lasts).sum();
            assert!(!steps.is_empty() && total <= Duration::from_secs(60), "seed {seed}: {steps:?}");
        }
    }

    #[test]
    fn every_kind_of_fault_occurs_and_names_nodes_that_exist() {
        let steps: Vec<_> = (0..50).flat_map(|seed| schedule(seed, limits(600))).collect();
        let kinds: HashSet<_> = steps.iter().map(|step| std::mem::discriminant(&step.fault)).collect();
        assert_eq!(kinds.len(), 10);
        for step in &steps {
            match &step.fault {
                Fault::Isolate(group) => assert!((1..3).contains(&group.len()), "{step}"),
                Fault::OneWay(first, second) | Fault::Pair(first, second) => {
                    assert!(first != second && *first < 3 && *second < 3, "{step}");
                }
                _ => {}
            }
        }
        let pauses = steps.iter().filter(|step| matches!(step.fault, Fault::Pause(_)));
        assert!(
            pauses.max_by_key(|step| step.lasts).is_some_and(|step| step.lasts > Duration::from_secs(20))
        );
    }
}
