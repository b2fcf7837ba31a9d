//! `rookery node leave`: how a node goes for good, in order.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::kubernetes;
use crate::cli::output::note;
use crate::cli::output::value::Value;
use crate::clock;
use crate::store::departure;

const CLUSTER: &str = "rookery.admin.v1.ClusterService";
const NODE: &str = "rookery.admin.v1.NodeService";

/// Time between two attempts to be removed.
const AGAIN: Duration = Duration::from_secs(1);

/// How a node leaves.
pub(super) struct Leave<'a> {
    /// Sessions ended per second.
    pub(super) rate: u32,
    /// For all of it.
    pub(super) limit: Duration,
    /// Of the node, if it is known.
    pub(super) data_dir: Option<&'a Path>,
}

impl Session {
    /// Drains the node that the endpoint reaches, and removes it from its cluster; with `if_scaled_down` only if Kubernetes
    /// says that its pod is one too many.
    pub(super) async fn leave(&mut self, leave: &Leave<'_>, if_scaled_down: bool) -> Result<(), CliError> {
        let begun = clock::monotonic();
        let goes = !if_scaled_down
            || match kubernetes::is_scaled_down().await {
                Ok(scaled_down) => scaled_down,
                Err(error) => {
                    // A restart is the likelier reason, and a member too many harms less than one too few.
                    note(&format!("{error}; the node stays a member"));
                    false
                }
            };
        let details = self.client.call(NODE, "GetStatus", json!({})).await?;
        let details = Value::facts(&details, self.format.spelling())?;
        let name = details.get("status").map(|status| status.text("name")).filter(|name| !name.is_empty());
        let node = name.ok_or_else(|| CliError::Answer("a node without a name".to_owned()))?.to_owned();
        let drained = self.drain(&node, leave.rate, Some(leave.limit)).await;
        if !goes {
            return drained.map(|_| note(&format!("{node} is drained and stays a member")));
        }
        if let Err(error) = drained {
            note(&error.to_string());
        }
        loop {
            match self.client.call(CLUSTER, "RemoveMember", json!({ "node": node })).await {
                Ok(_) => break,
                // The answer may be lost with the connection to the cluster.
                Err(_) if self.is_removed().await => break,
                Err(error) if may_pass(&error) && begun.elapsed() < leave.limit => {
                    note(&format!("{error}; trying again"))
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(AGAIN).await;
        }
        note(&format!("{node} was removed from its cluster"));
        match leave.data_dir {
            Some(data_dir) => departure::mark(data_dir, &node).map_err(|error| CliError::File {
                action: "mark",
                path: data_dir.to_owned(),
                error,
            }),
            None => {
                note(
                    "its data directory is of no use any more: empty it before a node of this name joins again",
                );
                Ok(())
            }
        }
    }
}

impl Session {
    /// Whether the node knows that it was removed.
    async fn is_removed(&mut self) -> bool {
        let details = self.client.call(NODE, "GetStatus", json!({})).await;
        let details = details.and_then(|details| Value::facts(&details, self.format.spelling()));
        details.is_ok_and(|details| matches!(details.get("removed"), Some(Value::Bool(true))))
    }
}

/// Whether the cluster may be able to remove the node a moment later: leadership may still be moving, for example.
fn may_pass(error: &CliError) -> bool {
    match error {
        CliError::Refused { code, .. } => matches!(*code, "FAILED_PRECONDITION" | "UNAVAILABLE"),
        CliError::Unreachable { .. } => true,
        _ => false,
    }
}
