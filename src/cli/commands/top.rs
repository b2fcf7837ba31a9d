//! `rookery top`: the cluster as it is now, again and again.

use std::io::{IsTerminal as _, stdout};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Session;
use super::cluster::{CLUSTER, nodes};
use super::session::{SPACE_COLUMNS, SPACES};
use crate::cli::arguments::Format;
use crate::cli::arguments::cluster::TopArguments;
use crate::cli::error::CliError;
use crate::cli::output::table::{self, Column, NAME};
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_object, write_while_read};
use crate::cli::resource::entries;
use crate::clock;

/// Moves the cursor of a terminal to the top and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";
/// Spaces that are shown: those with most sessions.
const SPACES_SHOWN: usize = 10;
/// Spaces that are asked for at once, and how often: beyond it the busiest may be missing.
const PAGE_SIZE: u64 = 1000;
const PAGES_MAX: usize = 20;

const NODE_COLUMNS: &[Column] = &[
    NAME,
    Column { heading: "ROLE", field: "role" },
    Column { heading: "STATE", field: "state" },
    Column { heading: "LAG", field: "lag" },
    Column { heading: "CONNECTIONS", field: "connections" },
    Column { heading: "SESSIONS", field: "sessions" },
    Column { heading: "UPTIME S", field: "uptime_s" },
    Column { heading: "VERSION", field: "version" },
    Column { heading: "REASON", field: "reason" },
];

impl Session {
    /// Shows the cluster until interrupted, or so many times.
    pub async fn top(&mut self, arguments: &TopArguments) -> Result<(), CliError> {
        let clears = self.format == Format::Text && stdout().is_terminal();
        let mut before: Option<Look> = None;
        let mut shown = 0;
        loop {
            let text = match self.look().await {
                Ok(look) if self.format == Format::Text => {
                    let text = look.page(before.as_ref());
                    before = Some(look);
                    text
                }
                Ok(look) => {
                    print_object(self.format, &look.object())?;
                    String::new()
                }
                // The node may be restarted; who watches wants to see it come back.
                Err(error) if shown > 0 && self.format != Format::Text => {
                    note(&format!("{error}; asking again"));
                    String::new()
                }
                Err(error) if shown > 0 => format!("{error}; asking again\n"),
                Err(error) => return Err(error),
            };
            if !write_while_read(&if clears { format!("{CLEAR}{text}") } else { text })? {
                return Ok(());
            }
            shown += 1;
            if arguments.count == Some(shown) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(arguments.interval.into())).await;
        }
    }

    async fn look(&mut self) -> Result<Look, CliError> {
        let spelling = self.format.spelling();
        let answer = self.client.call(CLUSTER, "GetStatus", json!({})).await?;
        let status = Value::facts(&answer, spelling)?;
        let mut spaces = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let request = json!({ "page_size": PAGE_SIZE, "page_token": token });
            let answer = self.client.call(SPACES, "List", request).await?;
            for space in entries(&answer, "spaces") {
                spaces.push(Value::facts(&space, spelling)?);
            }
            token = Value::facts(&answer, spelling)?.text("next_page_token").to_owned();
            if token.is_empty() {
                break;
            }
        }
        spaces.sort_by_key(|space| std::cmp::Reverse(space.number("sessions")));
        spaces.truncate(SPACES_SHOWN);
        Ok(Look { at: clock::monotonic(), status, spaces })
    }
}

/// The cluster at one moment.
struct Look {
    at: Instant,
    status: Value,
    spaces: Vec<Value>,
}

impl Look {
    fn object(self) -> Value {
        let spaces = Value::List(self.spaces);
        Value::Object(vec![("cluster".to_owned(), self.status), ("spaces".to_owned(), spaces)])
    }

    fn page(&self, before: Option<&Self>) -> String {
        let leader = match self.status.text("leader") {
            "" => "none",
            leader => leader,
        };
        let nodes = nodes(&self.status);
        let (connections, sessions) = (self.sum("connections"), self.sum("sessions"));
        let mut head = format!(
            "cluster {}, leader {leader}\n{} nodes, {connections} connections, {sessions} sessions",
            self.status.text("cluster_id"),
            nodes.len()
        );
        if let Some(before) = before {
            let seconds = self.at.duration_since(before.at).as_secs_f64().max(f64::EPSILON);
            let per_second = |now: u64, then: u64| (now as f64 - then as f64) / seconds;
            let moved = per_second(connections, before.sum("connections"));
            let entries = per_second(self.log_index(), before.log_index());
            head += &format!("; connections {moved:+.1}/s, log {entries:.1} entries/s");
        }
        let spaces = match self.spaces.is_empty() {
            true => "no registry or broker has sessions\n".to_owned(),
            false => table::to_table(SPACE_COLUMNS, &self.spaces),
        };
        format!("{head}\n\n{}\n{spaces}", table::to_table(NODE_COLUMNS, nodes))
    }

    fn sum(&self, field: &str) -> u64 {
        nodes(&self.status).iter().filter_map(|node| node.number(field)).sum()
    }

    fn log_index(&self) -> u64 {
        nodes(&self.status).iter().filter_map(|node| node.number("log_index")).max().unwrap_or(0)
    }
}
