//! What goes wrong in a command, said to a person: what happened, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tonic::{Code, Status};

/// Why a command failed.
#[derive(Debug, Error)]
pub enum CliError {
    /// A file could not be used.
    #[error("cannot {action} {}: {error}", path.display())]
    File {
        /// `read` or `use`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Standard input, output or the terminal failed.
    #[error("cannot use {stream}: {error}")]
    Stream {
        /// Which one.
        stream: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// A value on the command line breaks a rule.
    #[error("{flag} {rule} (got {value:?})")]
    Argument {
        /// The flag.
        flag: &'static str,
        /// The rule.
        rule: String,
        /// The value, if it is no secret.
        value: String,
    },
    /// A password breaks the policy or was not given.
    #[error("password {0}")]
    Password(String),
    /// An update that changes nothing.
    #[error("nothing to change: give at least one of {0}")]
    NothingToChange(&'static str),
    /// No token was given.
    #[error("no access token is given")]
    NoToken,
    /// The API could not be reached.
    #[error("cannot reach the server at {endpoint}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        endpoint: String,
        /// The innermost reason.
        reason: String,
    },
    /// The server refused the call.
    #[error("{message} ({code})")]
    Refused {
        /// The status, spelled as in the API.
        code: &'static str,
        /// What the server said.
        message: String,
    },
    /// No resource of this name.
    #[error("no {kind} has the id or name {name:?}")]
    NotFound {
        /// `registry`, `device` or `broker`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
    /// Several resources of this name.
    #[error("{} {kind}s have the name {name:?}: {}", ids.len(), ids.join(", "))]
    Ambiguous {
        /// `device` or `broker`.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// Their ids.
        ids: Vec<String>,
    },
    /// The server answered in an unexpected way.
    #[error("unexpected answer of the server: {0}")]
    Answer(String),
    /// What was asked for did not come about.
    #[error("{0}")]
    NotDone(String),
    /// The MQTT side failed.
    #[error("{0}")]
    Mqtt(String),
}

impl CliError {
    /// For `map_err` on reading a file.
    pub fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |error| Self::File { action: "read", path, error }
    }

    /// For `map_err` on writing results.
    pub fn output(error: io::Error) -> Self {
        Self::Stream { stream: "standard output", error }
    }

    /// What to try next, if anything helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some(
                "give --token-file or ROOKERY_TOKEN_FILE; on the server's machine --data-dir DIR is enough, \
                 it holds admin.token and pki/ca.pem",
            ),
            Self::Unreachable { reason, .. } if reason.contains("UnknownIssuer") => Some(
                "the server's certificate is not signed by a known CA: give --ca-file <data-dir>/pki/ca.pem or \
                 ROOKERY_CA_FILE",
            ),
            Self::Unreachable { reason, .. } if reason.contains("NotValidForName") => Some(
                "the server's certificate does not cover this host: use a name or address that it covers",
            ),
            Self::Unreachable { .. } => Some(
                "is the server running (rookery serve), and is this its --api address? Set it with --endpoint or \
                 ROOKERY_ENDPOINT",
            ),
            Self::Refused { code, .. } => hint_for(code),
            Self::NotFound { .. } => {
                Some("the list commands show names and ids; names are looked up in --folder-id")
            }
            Self::Ambiguous { .. } => Some("use the id"),
            Self::Password(_) => Some("--generate-password makes a good one"),
            _ => None,
        }
    }
}

/// A failed command as it is printed: what happened, and on a second line what to try next.
#[derive(Debug, Error)]
#[error("{error}{}", .error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
pub struct Failure {
    /// What happened.
    pub error: CliError,
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self { error }
    }
}

fn hint_for(code: &str) -> Option<&'static str> {
    match code {
        "UNAUTHENTICATED" => Some("the token is not valid on this server: check --token-file and --endpoint"),
        "PERMISSION_DENIED" => Some(
            "use a token with a higher role; an administrator makes one: rookery token create --role editor",
        ),
        "UNAVAILABLE" => Some("the server cannot serve now; try again, or raise --retry"),
        _ => None,
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        let message = match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        };
        Self::Refused { code: code_name(status.code()), message }
    }
}

/// The name of a status code as the API documents it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// The innermost cause of an error, which is the one that helps.
pub fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
