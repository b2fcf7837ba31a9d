//! Changes that a node owes the cluster from its start on, and makes when it can: its limits, its operator's token.

use std::future::Future;
use std::time::Duration;

use rookery_cluster::{Lease, Standing};
use tokio::task::JoinHandle;

use super::catalog::CatalogHandle;
use super::error::StoreError;
use crate::domain::quota::CatalogLimits;

/// First pause before an attempt is repeated; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// How long the start of a node waits for a change that can probably be made at once.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A task that ends with its owner.
pub(super) struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Repeats `attempt` until it succeeds: while the node does not serve it waits, after an error that may pass it tries
/// again. `what` names the change in the log.
///
/// # Errors
/// [`StoreError`] that will not pass: the change is against the rules, or the node is shutting down.
pub(super) async fn until_stored<T, Attempt>(
    lease: Lease,
    what: &str,
    mut attempt: impl FnMut() -> Attempt,
) -> Result<T, StoreError>
where
    Attempt: Future<Output = Result<T, StoreError>>,
{
    let mut standing = lease.standing();
    let mut pause = PAUSE_MIN;
    let mut is_repeated = false;
    loop {
        // Then the state is not older than the node's registration, so that a comparison with it means something.
        let is_gone =
            standing.wait_for(|standing| matches!(standing, Standing::Serving { .. })).await.is_err();
        if is_gone {
            return Err(StoreError::Closing);
        }
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error @ (StoreError::Rejected(_) | StoreError::TooLarge { .. } | StoreError::Closing)) => {
                return Err(error);
            }
            Err(error) if is_repeated => tracing::debug!(%error, what, "not stored yet"),
            Err(error) => tracing::warn!(%error, what, "not stored yet, will be tried again"),
        }
        is_repeated = true;
        tokio::time::sleep(pause).await;
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Puts the configured limits in force: at once if that is possible, else by a task in the background.
pub(super) async fn put_limits(
    catalog: &CatalogHandle,
    lease: Lease,
    limits: CatalogLimits,
) -> Option<Background> {
    if lease.is_valid() {
        let at_once = tokio::time::timeout(AT_ONCE, catalog.ensure_limits(limits.clone())).await;
        if matches!(at_once, Ok(Ok(()))) {
            return None;
        }
    }
    let catalog = catalog.clone();
    Some(Background(tokio::spawn(async move {
        let attempt = || catalog.ensure_limits(limits.clone());
        if let Err(error) = until_stored(lease, "the configured limits of the catalog", attempt).await {
            tracing::warn!(%error, "the configured limits of the catalog are not in force");
        }
    })))
}
