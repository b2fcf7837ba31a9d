//! Publishing to permanent topics: first the log, then the subscribers (U-T22).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::environment::Environment;
use super::routes;
use super::space::Space;
use crate::clock;
use crate::domain::address::CanonicalTopic;
use crate::domain::catalog::command::{Origin, SetPermanent};
use crate::mqtt::qos::QoS;
use crate::store::StoreError;

/// Proposes a message for its permanent topic. `done` is called, on any thread, when the message is stored and on its
/// way to its subscribers, or with the reason why it cannot be stored; perhaps before this function returns.
pub fn store(
    environment: &Arc<Environment>,
    space: &Space,
    topic: &CanonicalTopic,
    payload: Bytes,
    qos: QoS,
    done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
) {
    let message = SetPermanent {
        space: space.id.clone(),
        topic: topic.shared(),
        payload,
        qos,
        at: clock::now(),
        origin: Origin::default(),
    };
    let counting = Arc::clone(environment);
    environment.catalog.set_permanent_async(message, move |result| {
        if result.is_err() {
            counting.messages_not_stored.fetch_add(1, Ordering::Relaxed);
        }
        done(result.map(|_| ()));
    });
}

/// As [`store`], for a message that nobody waits for. If it cannot be stored it is still delivered to those who
/// subscribe now: traffic goes on when the disk is full.
pub fn store_or_deliver(
    environment: &Arc<Environment>,
    space: &Arc<Space>,
    topic: &CanonicalTopic,
    payload: Bytes,
    qos: QoS,
) {
    let (context, kept) = ((Arc::clone(environment), Arc::clone(space), topic.clone()), payload.clone());
    store(environment, space, topic, payload, qos, move |result| {
        // A message that may have been delivered after all is not sent twice with QoS 0.
        let uncertain = result.as_ref().is_err_and(StoreError::may_have_applied);
        if result.is_err() && !(uncertain && qos == QoS::AtMostOnce) {
            let (environment, space, topic) = context;
            let route = environment
                .catalog
                .read(|catalog| routes::matching(&space, topic.clone(), topic.as_str(), catalog));
            routes::deliver_from_outside(&environment, &route, &kept, qos);
        }
    });
}
