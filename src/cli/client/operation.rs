//! Waiting for the result of a change.

use std::time::Duration;

use prost::Message as _;
use prost_reflect::{DynamicMessage, ReflectMessage as _};
use rookery_proto::yandex::cloud::operation as pb;
use serde_json::{Value as Json, json};
use tonic::Status;

use super::Client;
use crate::cli::error::CliError;

const OPERATION_SERVICE: &str = "yandex.cloud.operation.OperationService";

/// Pause between two looks at an operation that is not done.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

impl Client {
    /// Makes a change. Returns the changed resource, or the operation when `no_wait` is set. A change
    /// without a result, such as a deletion, returns `google.protobuf.Empty`.
    pub async fn change(
        &mut self,
        service: &str,
        method: &str,
        request: Json,
        no_wait: bool,
    ) -> Result<DynamicMessage, CliError> {
        let answer = self.call(service, method, request).await?;
        if no_wait {
            return Ok(answer);
        }
        let mut operation = decode(&answer)?;
        while !operation.done {
            tokio::time::sleep(POLL_INTERVAL).await;
            operation = decode(&self.operation(&operation.id).await?)?;
        }
        self.result(operation)
    }

    /// Reads an operation.
    pub async fn operation(&mut self, id: &str) -> Result<DynamicMessage, CliError> {
        self.call(OPERATION_SERVICE, "Get", json!({ "operation_id": id })).await
    }

    /// What a finished operation says.
    fn result(&self, operation: pb::Operation) -> Result<DynamicMessage, CliError> {
        match operation.result {
            Some(pb::operation::Result::Error(error)) => {
                Err(Status::new(error.code.into(), error.message).into())
            }
            Some(pb::operation::Result::Response(any)) => {
                let name = any.type_url.rsplit('/').next().unwrap_or_default();
                let unknown = || CliError::Answer(format!("a result of the unknown type {:?}", any.type_url));
                let descriptor = self.pool().get_message_by_name(name).ok_or_else(unknown)?;
                DynamicMessage::decode(descriptor, any.value.as_slice())
                    .map_err(|error| CliError::Answer(error.to_string()))
            }
            None => Err(CliError::Answer(format!("operation {} is done without a result", operation.id))),
        }
    }
}

fn decode(answer: &DynamicMessage) -> Result<pb::Operation, CliError> {
    let name = answer.descriptor();
    pb::Operation::decode(answer.encode_to_vec().as_slice())
        .map_err(|error| CliError::Answer(format!("{}: {error}", name.full_name())))
}
