//! Connects the API's Publish with the message path.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::actors::environment::Environment;
use crate::actors::publisher::{self, PublisherError};
use crate::api::publish::{PublishError, Publisher};
use crate::domain::catalog::{Refused, Rejection};
use crate::domain::principal::Principal;
use crate::store::StoreError;

/// The message path of this node, as the API sees it.
pub struct MessagePath(pub Arc<Environment>);

impl Publisher for MessagePath {
    fn publish<'a>(
        &'a self,
        principal: Principal,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            match self.0.catalog.read(|catalog| catalog.admits(&principal)) {
                Ok(()) => {}
                Err(Refused::RegistryDisabled) => {
                    let registry_id = principal.space().as_str().to_owned();
                    return Err(PublishError::RegistryDisabled { registry_id });
                }
                Err(Refused::Deleted) => {
                    return Err(PublishError::NotFound { id: principal.id().to_owned() });
                }
            }
            publisher::publish(&self.0, &principal, topic, payload)
                .await
                .map_err(|error| refused(error, topic))
        })
    }
}

fn refused(error: PublisherError, topic: &str) -> PublishError {
    let topic = topic.to_owned();
    match error {
        PublisherError::Refused(refusal) if refusal.is_malformed() => {
            PublishError::InvalidTopic { topic, rule: refusal.to_string() }
        }
        PublisherError::Refused(_) => PublishError::NotAllowed { topic },
        PublisherError::NotStored(error) => not_stored(&error),
        PublisherError::Congested => PublishError::Overloaded,
        PublisherError::Fenced | PublisherError::NotTaken | PublisherError::Closing => {
            PublishError::Unavailable
        }
    }
}

fn not_stored(error: &StoreError) -> PublishError {
    match error {
        StoreError::Overloaded { .. } => PublishError::Overloaded,
        StoreError::Rejected(Rejection::NotFound { id, .. }) => PublishError::NotFound { id: id.to_string() },
        StoreError::StorageFull { .. } | StoreError::Rejected(_) => {
            PublishError::StorageFull { limit: error.to_string() }
        }
        _ => PublishError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::Resource;

    #[test]
    fn a_device_that_was_deleted_meanwhile_is_not_found() {
        // The message was on its way to the log when the device went. RESOURCE_EXHAUSTED was the answer, which official
        // clients retry.
        let gone = Rejection::NotFound { resource: Resource::Device, id: "are0".into() };
        assert_eq!(not_stored(&gone.into()), PublishError::NotFound { id: "are0".to_owned() });
    }
}
