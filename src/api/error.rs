//! The one table from domain errors to status codes (`spec/api.md`, Conventions; U-D9, U-P2).

use prost::Message;
use rookery_proto::google::rpc as pb;
use tonic::{Code, Status};

use super::convert::any;
use super::publish::PublishError;
use super::validate::Violation;
use crate::domain::catalog::{PageError, Rejection};
use crate::store::StoreError;
use crate::verify::pool::PoolError;

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Fields of the request break rules.
    #[error("{}", join(.0))]
    Invalid(Vec<Violation>),
    /// The catalog refuses the change, or has no such resource.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The message is not accepted.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// There is nothing left to cancel (U-P8).
    #[error("operation {id:?} is already done")]
    OperationDone {
        /// Its id.
        id: String,
    },
    /// The new password cannot be hashed now.
    #[error(transparent)]
    Passwords(#[from] PoolError),
    /// The change is refused, or cannot be committed now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Violation> for ApiError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

impl From<Vec<Violation>> for ApiError {
    fn from(violations: Vec<Violation>) -> Self {
        Self::Invalid(violations)
    }
}

impl From<PageError> for ApiError {
    fn from(error: PageError) -> Self {
        let field = match error {
            PageError::BadSize { .. } => "page_size",
            PageError::BadToken => "page_token",
        };
        Violation::new(field, error).into()
    }
}

impl ApiError {
    /// The status code of the error.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::Rejected(rejection) => code_of_rejection(rejection),
            Self::Publish(error) => code_of_publish_error(error),
            Self::OperationDone { .. } => Code::FailedPrecondition,
            Self::Passwords(PoolError::Busy { .. }) => Code::ResourceExhausted,
            Self::Passwords(PoolError::Closing) => Code::Unavailable,
            Self::Store(error) => code_of_store_error(error),
        }
    }
}

fn code_of_rejection(rejection: &Rejection) -> Code {
    match rejection {
        Rejection::NotFound { .. } => Code::NotFound,
        Rejection::IdTaken { .. }
        | Rejection::NameTaken { .. }
        | Rejection::CertificateTaken { .. }
        | Rejection::AliasConflict { .. }
        | Rejection::TokenTaken => Code::AlreadyExists,
        Rejection::InvalidAlias(_) | Rejection::TooManyAliases { .. } | Rejection::NotPermanent { .. } => {
            Code::InvalidArgument
        }
        Rejection::TooMany { .. } => Code::ResourceExhausted,
        Rejection::RegistryNotEmpty { .. }
        | Rejection::ExportExists { .. }
        | Rejection::LastAdministrator { .. }
        | Rejection::NotAdmitted(_)
        | Rejection::SessionOver { .. } => Code::FailedPrecondition,
        Rejection::EpochOver { .. } => Code::Unavailable,
    }
}

fn code_of_publish_error(error: &PublishError) -> Code {
    match error {
        PublishError::InvalidTopic { .. } => Code::InvalidArgument,
        PublishError::NotAllowed { .. } => Code::PermissionDenied,
        PublishError::RegistryDisabled { .. } => Code::FailedPrecondition,
        PublishError::NotFound { .. } => Code::NotFound,
        PublishError::StorageFull { .. } | PublishError::Overloaded => Code::ResourceExhausted,
        PublishError::Unavailable => Code::Unavailable,
    }
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let (code, message) = (error.code(), shortened(&error.to_string()));
        let ApiError::Invalid(violations) = error else { return Self::new(code, message) };
        let field_violations = violations
            .into_iter()
            .map(|violation| pb::bad_request::FieldViolation {
                field: violation.field,
                description: shortened(&violation.rule),
            })
            .collect();
        let details = vec![any(&pb::BadRequest { field_violations })];
        let body = pb::Status { code: code.into(), message: message.clone(), details };
        Self::with_details(code, message, body.encode_to_vec().into())
    }
}

/// Longest message, in bytes: it travels in a header and grows by percent-encoding.
const MESSAGE_BYTES_MAX: usize = 1400;

fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE_BYTES_MAX {
        return message.to_owned();
    }
    format!("{}...", &message[..message.floor_char_boundary(MESSAGE_BYTES_MAX)])
}

fn join(violations: &[Violation]) -> String {
    let texts: Vec<_> = violations.iter().map(Violation::to_string).collect();
    texts.join("; ")
}

fn code_of_store_error(error: &StoreError) -> Code {
    match error {
        StoreError::Rejected(rejection) => code_of_rejection(rejection),
        StoreError::Overloaded { .. } | StoreError::StorageFull { .. } => Code::ResourceExhausted,
        StoreError::TooLarge { .. } => Code::InvalidArgument,
        StoreError::NoLeader { .. } | StoreError::Unavailable { .. } | StoreError::Closing => {
            Code::Unavailable
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::{Limit, Resource};
    use crate::domain::id::RegistryId;

    #[test]
    fn domain_errors_have_the_chosen_codes() {
        // U-D9 and U-P6.
        let id = RegistryId::new("are0");
        let cases: [(ApiError, Code); 8] = [
            (Violation::new("name", "must not be empty").into(), Code::InvalidArgument),
            (Rejection::NotFound { resource: Resource::Device, id: "x".into() }.into(), Code::NotFound),
            (
                Rejection::NameTaken { resource: Resource::Device, name: "n".into(), id: "x".into() }.into(),
                Code::AlreadyExists,
            ),
            (Rejection::RegistryNotEmpty { id: id.clone(), devices: 1 }.into(), Code::FailedPrecondition),
            (Rejection::ExportExists { registry: id }.into(), Code::FailedPrecondition),
            (Rejection::TooMany { limit: Limit::Devices, max: 1 }.into(), Code::ResourceExhausted),
            (PublishError::NotAllowed { topic: "t".into() }.into(), Code::PermissionDenied),
            (PublishError::RegistryDisabled { registry_id: "r".into() }.into(), Code::FailedPrecondition),
        ];
        for (error, code) in cases {
            assert_eq!(error.code(), code, "{error}");
        }
    }

    #[test]
    fn violations_are_told_in_text_and_in_details() {
        let status = Status::from(ApiError::Invalid(vec![
            Violation::new("name", "must match x"),
            Violation::new("labels", "must have at most 64 entries (got 65)"),
        ]));
        assert_eq!(status.message(), "name: must match x; labels: must have at most 64 entries (got 65)");
        let body = pb::Status::decode(status.details()).expect("details are a google.rpc.Status");
        assert_eq!((body.code, body.message.as_str()), (3, status.message()));
        let bad_request = pb::BadRequest::decode(body.details[0].value.as_slice()).expect("a BadRequest");
        assert_eq!(bad_request.field_violations[1].field, "labels");
        assert_eq!(body.details[0].type_url, "type.googleapis.com/google.rpc.BadRequest");
    }

    #[test]
    fn no_message_outgrows_the_headers_of_clients() {
        let topic = "ы".repeat(1024);
        let status = Status::from(ApiError::from(PublishError::NotAllowed { topic }));
        assert!(status.message().len() <= MESSAGE_BYTES_MAX + 3, "{}", status.message().len());
    }
}
