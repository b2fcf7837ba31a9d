//! API tokens.

use rookery_proto::rookery::admin::v1 as pb;

use super::timestamp;
use crate::api::validate::Violation;
use crate::domain::token::{ApiToken, Role};

/// The role of a request.
///
/// # Errors
/// A violation if it is not set or unknown.
pub fn role(number: i32) -> Result<Role, Violation> {
    match pb::token::Role::try_from(number) {
        Ok(pb::token::Role::Viewer) => Ok(Role::Viewer),
        Ok(pb::token::Role::Editor) => Ok(Role::Editor),
        Ok(pb::token::Role::Admin) => Ok(Role::Administrator),
        Ok(pb::token::Role::Unspecified) | Err(_) => {
            Err(Violation::new("role", format!("must be VIEWER, EDITOR or ADMIN (got {number})")))
        }
    }
}

/// A token as the API shows it, without anything secret.
pub fn token(token: &ApiToken) -> pb::Token {
    let role = match token.role {
        Role::Viewer => pb::token::Role::Viewer,
        Role::Editor => pb::token::Role::Editor,
        Role::Administrator => pb::token::Role::Admin,
    };
    pb::Token {
        id: token.id.to_string(),
        name: token.name.to_string(),
        role: role.into(),
        created_at: Some(timestamp(token.created_at)),
        created_by: token.created_by.to_string(),
    }
}
