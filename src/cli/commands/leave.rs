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
        let status = self.client.call(NODE, "GetStatus", json!({})).await?;
        let status = Value::facts(&status, self.format.spelling())?;
        let node = status.text("name").to_owned();
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
                Err(error) if begun.elapsed() < leave.limit => note(&format!("{error}; trying again")),
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
