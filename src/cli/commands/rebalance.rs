//! `rookery cluster rebalance`: clients move from nodes that have more than their share.

use serde_json::json;

use super::Session;
use super::cluster::{CLUSTER, NODE, nodes};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, NAME};
use crate::cli::output::value::Value;

const COLUMNS: &[Column] = &[
    NAME,
    Column { heading: "SESSIONS", field: "sessions" },
    Column { heading: "SHARE", field: "share" },
    Column { heading: "TO MOVE", field: "to_move" },
];

/// What a node has and is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Share {
    name: String,
    sessions: u64,
    share: u64,
    to_move: u64,
}

impl Session {
    /// Ends what nodes have above their share, unless it is only to be shown.
    pub(super) async fn rebalance(
        &mut self,
        rate: u32,
        tolerance: u32,
        dry_run: bool,
    ) -> Result<(), CliError> {
        let answer = self.client.call(CLUSTER, "GetStatus", json!({})).await?;
        let status = Value::facts(&answer, self.format.spelling())?;
        let serves = |node: &&Value| matches!(node.text("state"), "leader" | "follower" | "learner");
        let serving: Vec<(String, u64)> = nodes(&status)
            .iter()
            .filter(serves)
            .map(|node| (node.text("name").to_owned(), node.number("sessions").unwrap_or(0)))
            .collect();
        let mut plan = shares(&serving, tolerance);
        for node in plan.iter_mut().filter(|node| !dry_run && node.to_move > 0) {
            let request = json!({ "node": node.name, "sessions": node.to_move, "sessions_per_second": rate });
            let answer = self.client.call(NODE, "Shed", request).await?;
            let begun = Value::facts(&answer, self.format.spelling())?;
            node.to_move = begun.number("sessions").unwrap_or(0);
        }
        self.print_rows(COLUMNS, plan.into_iter().map(row).collect())
    }
}

/// Of nodes with their sessions, how many each should have, and how many it has to give away: none if it is within the
/// tolerance.
fn shares(nodes: &[(String, u64)], tolerance_percent: u32) -> Vec<Share> {
    let total: u64 = nodes.iter().map(|(_, sessions)| sessions).sum();
    let share = total.div_ceil((nodes.len() as u64).max(1));
    let limit = share + share * u64::from(tolerance_percent) / 100;
    nodes
        .iter()
        .map(|(name, sessions)| Share {
            name: name.clone(),
            sessions: *sessions,
            share,
            to_move: if *sessions > limit { sessions - share } else { 0 },
        })
        .collect()
}

fn row(node: Share) -> Value {
    let number = |number: u64| Value::Number(number.into());
    Value::Object(vec![
        ("name".to_owned(), Value::Text(node.name)),
        ("sessions".to_owned(), number(node.sessions)),
        ("share".to_owned(), number(node.share)),
        ("to_move".to_owned(), number(node.to_move)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to_move(sessions: &[u64], tolerance: u32) -> Vec<u64> {
        let nodes: Vec<_> = sessions.iter().map(|sessions| (String::new(), *sessions)).collect();
        shares(&nodes, tolerance).iter().map(|node| node.to_move).collect()
    }

    #[test]
    fn who_has_more_than_its_share_gives_the_rest_away() {
        assert_eq!(to_move(&[3000, 3000, 0], 5), [1000, 1000, 0]);
        assert_eq!(to_move(&[1040, 1000, 960], 5), [0, 0, 0], "within the tolerance");
        assert_eq!(to_move(&[1040, 1000, 960], 0), [40, 0, 0]);
        assert_eq!(to_move(&[1, 0, 0], 0), [0, 0, 0], "a single client has nowhere better to go");
        assert_eq!(to_move(&[7], 0), [0]);
        assert_eq!(to_move(&[], 0), Vec::<u64>::new());
    }
}
