//! The one table from domain errors to status codes (`spec/api.md`, Conventions; U-D9, U-P2).

use prost::Message;
use rookery_proto::google::rpc as pb;
use tonic::{Code, Status};

use super::convert::any;
use super::publish::PublishError;
use super::validate::Violation;
use crate::domain::catalog::{PageError, Rejection};

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
    /// The system gave no random salt for a password.
    #[error("password hashing failed: {0}")]
    PasswordHashing(#[from] argon2::password_hash::Error),
    /// The change cannot be proposed now.
    #[error(transparent)]
    Propose(#[from] ProposeError),
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
            Self::PasswordHashing(_) => Code::Internal,
            Self::Propose(error) => code_of_propose_error(error),
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
        | Rejection::LastAdministrator { .. } => Code::FailedPrecondition,
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
        let (code, message) = (error.code(), error.to_string());
        let ApiError::Invalid(violations) = error else { return Self::new(code, message) };
        let field_violations = violations
            .into_iter()
            .map(|violation| pb::bad_request::FieldViolation { field: violation.field, description: violation.rule })
            .collect();
        let details = vec![any(&pb::BadRequest { field_violations })];
        let body = pb::Status { code: code.into(), message: message.clone(), details };
        Self::with_details(code, message, body.encode_to_vec().into())
    }
}

/// Most violations that are spelled out in one message.
const VIOLATIONS_SHOWN_MAX: usize = 10;

fn join(violations: &[Violation]) -> String {
    let shown: Vec<_> = violations.iter().take(VIOLATIONS_SHOWN_MAX).map(Violation::to_string).collect();
    shown.join("; ")
}
