//! What every handler does: accept a call, choose ids, propose a change.

use std::sync::Arc;

use bytes::Bytes;
use prost::{Message, Name};
use rookery_proto::yandex::cloud::operation as pb;
use smol_str::SmolStr;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use crate::api::access::{CalledMethod, Caller};
use crate::api::convert;
use crate::api::error::ApiError;
use crate::api::operators::Operators;
use crate::api::publish::Publisher;
use crate::api::validate::{Violation, check};
use crate::domain::catalog::{Change, IdempotencyKey, Rejection, Resource};
use crate::domain::principal::Principal;
use crate::store::{CatalogHandle, MutationContext};
use crate::verify::password::PasswordVerifier;

/// Longest idempotency key, in bytes. Official clients send UUIDs.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// What the services work with.
#[derive(Clone)]
pub struct Backend {
    /// The catalog.
    pub catalog: CatalogHandle,
    /// The message path.
    pub publisher: Arc<dyn Publisher>,
    /// Hashes new passwords.
    pub passwords: Arc<PasswordVerifier>,
    /// The node and the cluster.
    pub operators: Arc<dyn Operators>,
}

/// An accepted call: authenticated, authorized and valid by the annotated rules.
#[derive(Debug)]
pub struct Call {
    /// Who calls.
    pub caller: Caller,
    idempotency_key: Option<IdempotencyKey>,
}

/// Takes a request apart and checks it.
///
/// # Errors
/// INVALID_ARGUMENT with all violations of the annotated rules.
pub fn accept<M: Message + Name>(request: Request<M>) -> Result<(Call, M), Status> {
    let (metadata, extensions, message) = request.into_parts();
    let (Some(caller), Some(method)) = (extensions.get::<Caller>(), extensions.get::<CalledMethod>()) else {
        // Unreachable behind the access layer; without it nobody gets in.
        return Err(Status::unauthenticated("the caller is unknown"));
    };
    check(&message).map_err(ApiError::Invalid)?;
    let idempotency_key = idempotency_key(&metadata, method).map_err(ApiError::from)?;
    Ok((Call { caller: caller.clone(), idempotency_key }, message))
}

/// The client's mark against acting twice (U-P9).
fn idempotency_key(
    metadata: &MetadataMap,
    method: &CalledMethod,
) -> Result<Option<IdempotencyKey>, Violation> {
    let Some(value) = metadata.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok("") => Ok(None),
        Ok(key) if key.len() <= IDEMPOTENCY_KEY_BYTES_MAX => {
            Ok(Some(IdempotencyKey { method: method.0.clone(), key: SmolStr::new(key) }))
        }
        _ => {
            let rule = format!("must be visible ASCII of at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
            Err(Violation::new("idempotency-key", rule))
        }
    }
}

/// There is no resource of this kind with this id or name.
pub fn not_found(resource: Resource, id: &str) -> ApiError {
    Rejection::NotFound { resource, id: SmolStr::new(id) }.into()
}

impl Backend {
    /// Makes a change on behalf of the caller and answers with its operation, done (U-P1).
    ///
    /// # Errors
    /// The status of the catalog's rejection (U-P2), or UNAVAILABLE and the like if nothing can be stored.
    pub async fn mutate(&self, call: Call, change: Change) -> Result<Response<pb::Operation>, Status> {
        let subject = SmolStr::new(call.caller.subject.as_str());
        let context = MutationContext { subject, idempotency_key: call.idempotency_key };
        let operation = self.catalog.mutate(change, context).await.map_err(ApiError::from)?;
        let (id, description) = (&operation.id, operation.metadata.description());
        let resource = operation.metadata.listed_under();
        tracing::info!(operation = %id, subject = %operation.created_by, resource = resource.id(), "{description}");
        Ok(Response::new(convert::operation::operation(&operation)))
    }

    /// Publishes a message on behalf of a principal.
    ///
    /// # Errors
    /// As the message path answers.
    pub async fn publish(&self, principal: Principal, topic: &str, payload: Bytes) -> Result<(), ApiError> {
        Ok(self.publisher.publish(principal, topic, payload).await?)
    }
}
