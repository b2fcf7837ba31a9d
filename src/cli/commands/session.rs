//! `rookery session` and `rookery space`.

use serde_json::json;

use super::Session;
use crate::cli::arguments::Format;
use crate::cli::arguments::cluster::{SessionCommand, SpaceCommand};
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, ID, NAME};
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_facts, print_object, table, write};
use crate::cli::resource::Pages;

const SESSIONS: &str = "rookery.admin.v1.SessionService";
pub(super) const SPACES: &str = "rookery.admin.v1.SpaceService";

/// Largest page of both lists.
const PAGE_MAX: u32 = 1000;

const SESSION_COLUMNS: &[Column] = &[
    ID,
    Column { heading: "NODE", field: "node" },
    Column { heading: "TYPE", field: "entity_type" },
    Column { heading: "ENTITY", field: "entity_id" },
    Column { heading: "CLIENT ID", field: "client_id" },
    Column { heading: "ADDRESS", field: "address" },
    Column { heading: "SUBSCRIPTIONS", field: "subscriptions" },
    Column { heading: "CONNECTED AT", field: "connected_at" },
];

pub(super) const SPACE_COLUMNS: &[Column] = &[
    ID,
    Column { heading: "TYPE", field: "type" },
    NAME,
    Column { heading: "SESSIONS", field: "sessions" },
    Column { heading: "SUBSCRIPTIONS", field: "subscriptions" },
    Column { heading: "DEVICES", field: "devices" },
];

const TARGET_COLUMNS: &[Column] = &[
    Column { heading: "NODE", field: "node" },
    Column { heading: "SESSION", field: "session_id" },
    Column { heading: "ENTITY", field: "entity_id" },
    Column { heading: "CLIENT ID", field: "client_id" },
    Column { heading: "QOS", field: "qos" },
    Column { heading: "TOPIC", field: "topic" },
];

impl Session {
    /// Runs one command.
    pub async fn session(&mut self, command: &SessionCommand) -> Result<(), CliError> {
        match command {
            SessionCommand::List { space, entity, client_id, node, limit } => {
                let text = |given: &Option<String>| given.clone().unwrap_or_default();
                let request = json!({
                    "space_id": text(space),
                    "entity_id": text(entity),
                    "client_id_prefix": text(client_id),
                    "node": text(node),
                });
                let pages = Pages::of_service(SESSIONS, "List", "sessions", request);
                self.print_pages(pages, limit.limit, SESSION_COLUMNS).await
            }
            SessionCommand::Show { id } => {
                let answer = self.client.call(SESSIONS, "Get", json!({ "session_id": id })).await?;
                print_facts(self.format, &answer)
            }
            SessionCommand::Kick { ids } => {
                for id in ids {
                    self.client.call(SESSIONS, "Kick", json!({ "session_id": id })).await?;
                }
                print_object(self.format, &Value::Object(Vec::new()))
            }
        }
    }

    /// Runs one command.
    pub async fn space(&mut self, command: &SpaceCommand) -> Result<(), CliError> {
        match command {
            SpaceCommand::List(limit) => {
                let pages = Pages::of_service(SPACES, "List", "spaces", json!({}));
                self.print_pages(pages, limit.limit, SPACE_COLUMNS).await
            }
            SpaceCommand::Routes { topic, publisher } => {
                let request = json!({ "topic": topic, "entity_id": publisher });
                let answer = self.client.call(SPACES, "GetRoutes", request).await?;
                if self.format != Format::Text {
                    return print_facts(self.format, &answer);
                }
                let route = Value::facts(&answer, self.format.spelling())?;
                let stored =
                    if route.get("permanent") == Some(&Value::Bool(true)) { ", permanent" } else { "" };
                let total = route.number("total").unwrap_or(0);
                let head = format!("{}{stored}: {total} sessions\n", route.text("canonical_topic"));
                let targets = match route.get("targets") {
                    Some(Value::List(targets)) => targets.clone(),
                    _ => Vec::new(),
                };
                write(&(head + &table::to_table(TARGET_COLUMNS, &targets)))
            }
        }
    }

    async fn print_pages(&mut self, pages: Pages, limit: u32, columns: &[Column]) -> Result<(), CliError> {
        let (messages, more) = pages.take(&mut self.client, limit, PAGE_MAX).await?;
        let rows = messages.iter().map(|message| Value::facts(message, self.format.spelling()));
        self.print_rows(columns, rows.collect::<Result<Vec<_>, _>>()?)?;
        if more {
            note(&format!("note: there are more than {limit}; list them with a higher --limit"));
        }
        Ok(())
    }
}
