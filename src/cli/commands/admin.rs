//! `rookery operation` and `rookery token`.

use serde_json::json;

use super::Session;
use crate::cli::arguments::admin::{OperationCommand, TokenCommand, TokenRole};
use crate::cli::error::CliError;
use crate::cli::output::table::{CREATED_AT, Column, ID, NAME};
use crate::cli::output::value::Value;
use crate::cli::output::{print_message, print_object};
use crate::cli::resource::Pages;

const TOKEN_SERVICE: &str = "rookery.admin.v1.TokenService";

/// Largest page of the token list.
const TOKEN_PAGE_MAX: u32 = 1000;

const TOKEN_COLUMNS: &[Column] = &[ID, NAME, Column { heading: "ROLE", field: "role" }, CREATED_AT];

impl Session {
    /// Runs one command.
    pub async fn operation(&mut self, command: &OperationCommand) -> Result<(), CliError> {
        match command {
            OperationCommand::Get { id } => {
                let operation = self.client.operation(id).await?;
                print_message(self.format, &operation)
            }
        }
    }

    /// Runs one command.
    pub async fn token(&mut self, command: &TokenCommand) -> Result<(), CliError> {
        match command {
            TokenCommand::Create { name, role } => {
                let request =
                    json!({ "name": name.as_deref().unwrap_or_default(), "role": role_name(*role) });
                let answer = self.client.call(TOKEN_SERVICE, "Create", request).await?;
                self.print_token(&Value::from_message(&answer, self.format.spelling())?)
            }
            TokenCommand::List(limit) => {
                let pages = Pages::of_service(TOKEN_SERVICE, "List", "tokens", json!({}));
                self.list_pages(pages, limit.limit, TOKEN_PAGE_MAX, TOKEN_COLUMNS).await
            }
            TokenCommand::Revoke { ids } => {
                for id in ids {
                    self.client.call(TOKEN_SERVICE, "Revoke", json!({ "token_id": id })).await?;
                }
                // As after a deletion: nothing as text, an empty object for a program that reads JSON.
                print_object(self.format, &Value::Object(Vec::new()))
            }
        }
    }

    /// A new token as one object: its fields, then the secret.
    fn print_token(&self, answer: &Value) -> Result<(), CliError> {
        let mut token = answer.get("token").cloned().unwrap_or(Value::Object(Vec::new()));
        token.push_text("secret", answer.text("secret"));
        print_object(self.format, &token)
    }
}

fn role_name(role: TokenRole) -> &'static str {
    match role {
        TokenRole::Viewer => "VIEWER",
        TokenRole::Editor => "EDITOR",
        TokenRole::Admin => "ADMIN",
    }
}
