//! What is revoked on one node ends sessions on all.

use std::time::Instant;

use rookery_harness::{client::Client, runtime::run};

use super::{on_three_nodes, site::Site};

#[test]
fn revocation_ends_sessions_on_every_node() {
    on_three_nodes(|cluster| {
        run(async {
            let site = Site::create(cluster).await;
            let api = cluster.api(2);
            let mut by_password = everywhere(&site, &site.device).await;
            let mut bystanders = everywhere(&site, &site.other).await;
            let started = Instant::now();
            api.delete_password(&site.device, &site.password_id).await.expect("the password is deleted");
            all_closed(&mut by_password).await;
            eprintln!("deleted password: all sessions ended after {:?}", started.elapsed());
            for bystander in &mut bystanders {
                bystander.fence().await;
            }

            let mut of_broker = everywhere(&site, &site.broker).await;
            api.delete(&site.broker).await.expect("the broker is deleted");
            all_closed(&mut of_broker).await;

            let started = Instant::now();
            api.disable(&site.registry).await.expect("the registry is disabled");
            all_closed(&mut bystanders).await;
            eprintln!("disabled registry: all sessions ended after {:?}", started.elapsed());
        });
    });
}

/// A client of the entity at each node.
async fn everywhere(site: &Site<'_>, entity: &rookery_harness::api::Entity) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in 0..site.cluster.size() {
        clients.push(site.connect(node, entity).await);
    }
    clients
}

async fn all_closed(clients: &mut [Client]) {
    for client in clients {
        client.expect_closed().await;
    }
}
