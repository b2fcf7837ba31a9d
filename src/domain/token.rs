//! API tokens: who may call the management API, and what for.

use std::fmt;

use smol_str::SmolStr;

use super::id::TokenId;
use super::timestamp::Timestamp;

/// SHA-256 of a token's secret. Secrets have enough entropy to need no salt.
pub type TokenHash = [u8; 32];

/// What the bearer of a token may do. Each role includes the ones before it, so roles compare by rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, changes and publishes.
    Editor,
    /// All of it, and the tokens.
    Administrator,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Administrator => "administrator",
        })
    }
}

/// An API token as the server keeps it: the secret itself is shown once and never stored.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ApiToken {
    /// Also the subject id that operations name in `created_by`.
    pub id: TokenId,
    /// What its maker calls it; need not be unique.
    pub name: SmolStr,
    /// What it allows.
    pub role: Role,
    /// What a presented secret is looked up by.
    pub hash: TokenHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// Id of the token that made this one; empty for the first.
    pub created_by: SmolStr,
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiToken")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}
