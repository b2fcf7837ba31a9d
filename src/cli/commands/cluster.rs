//! `rookery cluster` and `rookery node`.

use std::path::Path;
use std::time::Duration;

use prost_reflect::DynamicMessage;
use serde_json::json;

use super::Session;
use super::leave::Leave;
use crate::cli::arguments::Format;
use crate::cli::arguments::cluster::{ClusterCommand, NodeCommand, OptionalNode};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, ID, NAME};
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_facts, print_object, table, write, write_while_read};
use crate::cli::resource::entries;
use crate::clock;

pub(super) const CLUSTER: &str = "rookery.admin.v1.ClusterService";
pub(super) const NODE: &str = "rookery.admin.v1.NodeService";

/// How often the progress of a drain is asked for.
const DRAIN_POLL: Duration = Duration::from_millis(500);

const NODE_COLUMNS: &[Column] = &[
    NAME,
    ID,
    Column { heading: "ADDRESS", field: "address" },
    Column { heading: "ROLE", field: "role" },
    Column { heading: "STATE", field: "state" },
    Column { heading: "TERM", field: "term" },
    Column { heading: "LOG", field: "log_index" },
    Column { heading: "APPLIED", field: "applied_index" },
    Column { heading: "LAG", field: "lag" },
    Column { heading: "CONNECTIONS", field: "connections" },
    Column { heading: "SESSIONS", field: "sessions" },
    Column { heading: "UPTIME S", field: "uptime_s" },
    Column { heading: "VERSION", field: "version" },
    Column { heading: "NEWEST FORMAT", field: "newest_format" },
    Column { heading: "STATE HASH", field: "state_hash" },
    Column { heading: "REASON", field: "reason" },
];

const MEMBER_COLUMNS: &[Column] = &[
    ID,
    NAME,
    Column { heading: "ADDRESS", field: "address" },
    Column { heading: "ROLE", field: "role" },
    Column { heading: "REGISTERED", field: "registered" },
];

impl Session {
    /// Runs one command.
    pub async fn cluster(&mut self, command: &ClusterCommand) -> Result<(), CliError> {
        match command {
            ClusterCommand::Status => self.cluster_status().await,
            ClusterCommand::Members => {
                let answer = self.client.call(CLUSTER, "ListMembers", json!({})).await?;
                let members = entries(&answer, "members");
                let rows = members.iter().map(|member| Value::facts(member, self.format.spelling()));
                self.print_rows(MEMBER_COLUMNS, rows.collect::<Result<Vec<_>, _>>()?)
            }
            ClusterCommand::Remove(node) => self.change_member("RemoveMember", &node.node).await,
            ClusterCommand::Promote(node) => self.change_member("PromoteMember", &node.node).await,
            ClusterCommand::TransferLeader { node } => {
                let request = json!({ "node": node.as_deref().unwrap_or_default() });
                let answer = self.client.call(CLUSTER, "TransferLeadership", request).await?;
                print_facts(self.format, &answer)
            }
            ClusterCommand::Rebalance { rate, tolerance, dry_run } => {
                self.rebalance(*rate, *tolerance, *dry_run).await
            }
            ClusterCommand::Events => self.events().await,
            ClusterCommand::Recover(_) => Ok(()),
        }
    }

    async fn change_member(&mut self, method: &str, node: &str) -> Result<(), CliError> {
        self.client.call(CLUSTER, method, json!({ "node": node })).await?;
        print_object(self.format, &Value::Object(Vec::new()))
    }

    async fn cluster_status(&mut self) -> Result<(), CliError> {
        let answer = self.client.call(CLUSTER, "GetStatus", json!({})).await?;
        let status = Value::facts(&answer, self.format.spelling())?;
        match self.format {
            Format::Text => write_status(&status)?,
            _ => print_facts(self.format, &answer)?,
        }
        all_serve(&status)
    }

    /// A list: a table as text, an array otherwise.
    pub(super) fn print_rows(&self, columns: &[Column], rows: Vec<Value>) -> Result<(), CliError> {
        match self.format {
            Format::Text => write(&table::to_table(columns, &rows)),
            _ => print_object(self.format, &Value::List(rows)),
        }
    }

    async fn events(&mut self) -> Result<(), CliError> {
        let mut events = self.client.watch(CLUSTER, "WatchEvents", json!({})).await?;
        while let Some(event) = events.next().await? {
            let event = Value::facts(&event, self.format.spelling())?;
            let line = match self.format {
                Format::Text => {
                    let node = Some(event.text("node")).filter(|node| !node.is_empty()).unwrap_or("-");
                    format!("{} {} {node} {}\n", event.text("at"), event.text("kind"), event.text("text"))
                }
                _ => {
                    serde_json::to_string(&event).map_err(|error| CliError::Answer(error.to_string()))? + "\n"
                }
            };
            if !write_while_read(&line)? {
                break;
            }
        }
        Ok(())
    }

    /// Runs one command.
    pub async fn node(&mut self, command: &NodeCommand, data_dir: Option<&Path>) -> Result<(), CliError> {
        match command {
            NodeCommand::Status(node) => self.node_call("GetStatus", node).await,
            NodeCommand::Drain { node, rate, no_wait, timeout } => {
                let wait = (!no_wait).then(|| Duration::from_secs(*timeout));
                let answer = self.drain(name(node), *rate, wait).await?;
                print_facts(self.format, &answer)
            }
            NodeCommand::Leave { rate, timeout, if_scaled_down } => {
                let leave = Leave { rate: *rate, limit: Duration::from_secs(*timeout), data_dir };
                self.leave(&leave, *if_scaled_down).await
            }
            NodeCommand::Undrain(node) => self.node_call("Undrain", node).await,
            NodeCommand::Snapshot(node) => self.node_call("CreateSnapshot", node).await,
            NodeCommand::LogLevel { filter, node } => {
                let request = json!({ "node": node.as_deref().unwrap_or_default(), "filter": filter });
                self.client.call(NODE, "SetLogFilter", request).await?;
                print_object(self.format, &Value::Object(Vec::new()))
            }
        }
    }

    async fn node_call(&mut self, method: &str, node: &OptionalNode) -> Result<(), CliError> {
        let answer = self.client.call(NODE, method, json!({ "node": name(node) })).await?;
        print_facts(self.format, &answer)
    }

    /// Drains a node, and waits until no session is left if told to.
    pub(super) async fn drain(
        &mut self,
        node: &str,
        rate: u32,
        wait: Option<Duration>,
    ) -> Result<DynamicMessage, CliError> {
        let request = json!({ "node": node, "sessions_per_second": rate });
        let begun = clock::monotonic();
        loop {
            let answer = self.client.call(NODE, "Drain", request.clone()).await?;
            let progress = Value::facts(&answer, self.format.spelling())?;
            let left =
                progress.number("sessions_left").or_else(|| progress.number("sessionsLeft")).unwrap_or(0);
            match wait {
                Some(limit) if left > 0 && begun.elapsed() < limit => {
                    note(&format!("{left} sessions left"));
                    tokio::time::sleep(DRAIN_POLL).await;
                }
                Some(_) if left > 0 => {
                    return Err(CliError::NotDone(format!(
                        "{left} sessions are left; the node goes on draining"
                    )));
                }
                _ => return Ok(answer),
            }
        }
    }
}

fn name(node: &OptionalNode) -> &str {
    node.node.as_deref().unwrap_or_default()
}

fn write_status(status: &Value) -> Result<(), CliError> {
    let leader = match status.text("leader") {
        "" => "none",
        leader => leader,
    };
    let format = status.number("format").unwrap_or_default();
    let head = format!("cluster {}, leader {leader}, format {format}\n", status.text("cluster_id"));
    let nodes: Vec<_> = nodes(status).iter().map(short_hash).collect();
    write(&(head + &table::to_table(NODE_COLUMNS, &nodes)))
}

/// The nodes of a status.
pub(super) fn nodes(status: &Value) -> &[Value] {
    match status.get("nodes") {
        Some(Value::List(nodes)) => nodes,
        _ => &[],
    }
}

/// Fails if a node does not do its part, so that scripts need not read the table.
fn all_serve(status: &Value) -> Result<(), CliError> {
    let is_well =
        |node: &&Value| matches!(node.text("state"), "leader" | "follower" | "learner" | "draining");
    let unwell = nodes(status).iter().filter(|node| !is_well(node));
    let mut complaints: Vec<_> =
        unwell.map(|node| format!("{} is {}", node.text("name"), node.text("state"))).collect();
    if status.text("leader").is_empty() {
        complaints.push("there is no leader".to_owned());
    }
    match complaints.is_empty() {
        true => Ok(()),
        false => Err(CliError::NotDone(format!("the cluster is not healthy: {}", complaints.join(", ")))),
    }
}

/// The row of a node with the beginning of its hash in the place of the object.
fn short_hash(node: &Value) -> Value {
    let mut node = node.clone();
    if let Value::Object(fields) = &mut node {
        for (field, value) in fields.iter_mut().filter(|(field, _)| field == "state_hash") {
            let hash: String = value.text("hash").chars().take(12).collect();
            *value = match value.number("index") {
                Some(index) => Value::Text(format!("{hash}@{index}")),
                None => Value::Text(String::new()),
            };
            debug_assert_eq!(field, "state_hash");
        }
    }
    node
}
