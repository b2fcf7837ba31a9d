//! The leader lets the cluster write a newer format as soon as all members can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::formats::{self, Formats};
use crate::record::{SetFormat, SystemChange};
use crate::replica::Replica;
use crate::supervisor::Shared;

/// How often the leader looks. Nothing waits for it.
const TICK: Duration = Duration::from_secs(1);

/// Runs beside a Raft core until it is aborted.
pub(crate) async fn run<R: Replica>(shared: Arc<Shared<R>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let members = members(&shared);
        let Some(format) = formats::next(shared.machine.nodes().format(), &members) else { continue };
        let proposed = match &shared.membership {
            Some(membership) => {
                let of_these = members.into_keys().collect();
                let changed = membership.router().changer().set_format(format, &of_these).await;
                changed.map_err(|error| error.to_string())
            }
            None => {
                let change = SystemChange::SetFormat(SetFormat { format });
                let proposed = shared.system_proposer().propose_system(change).await;
                proposed.map(drop).map_err(|error| error.to_string())
            }
        };
        if let Err(reason) = proposed {
            tracing::debug!(format, reason, "the cluster does not write the newer format yet");
        }
    }
}

/// What each member can write, as far as it has told this leader; empty on other nodes.
fn members<R: Replica>(shared: &Shared<R>) -> BTreeMap<u64, Option<Formats>> {
    let own_id = shared.place().origin.node_id;
    if shared.status.borrow().leader_id != Some(own_id) {
        return BTreeMap::new();
    }
    let told = shared.liveness.report().nodes;
    let told: BTreeMap<u64, Option<Formats>> =
        told.into_iter().map(|node| (node.node_id, node.formats)).collect();
    let members = Arc::clone(&shared.members.borrow());
    members.iter().map(|member| (member.node_id, told.get(&member.node_id).copied().flatten())).collect()
}
