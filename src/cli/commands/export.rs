//! `rookery registry yds-export`.

use serde_json::{Map, Value as Json, json};

use super::Session;
use super::change::insert;
use crate::cli::arguments::registry::ExportCommand;
use crate::cli::arguments::target::Owner as _;
use crate::cli::error::CliError;
use crate::cli::output::print_message;
use crate::cli::output::table::{Column, ID, NAME};
use crate::cli::resource::REGISTRY;

const COLUMNS: &[Column] = &[
    ID,
    NAME,
    Column { heading: "DATABASE", field: "database" },
    Column { heading: "STREAM", field: "stream" },
    Column { heading: "TOPIC FILTER", field: "mqtt_topic_filter" },
];

impl Session {
    /// `yds-export add`, `list`, `delete`
    pub(super) async fn export(&mut self, command: &ExportCommand) -> Result<(), CliError> {
        match command {
            ExportCommand::Add {
                owner,
                name,
                database,
                stream,
                mqtt_topic_filter,
                stream_service_account_id,
                wait,
            } => {
                let id = REGISTRY.id_of(&mut self.client, &owner.reference()).await?;
                let mut request = Map::new();
                request.insert("registry_id".to_owned(), json!(id));
                insert(&mut request, "name", name.as_ref());
                insert(&mut request, "database", Some(database));
                insert(&mut request, "stream", Some(stream));
                insert(&mut request, "mqtt_topic_filter", mqtt_topic_filter.as_ref());
                insert(&mut request, "service_account_id", Some(stream_service_account_id));
                self.change_export("AddDataStreamExport", Json::Object(request), wait.no_wait).await
            }
            ExportCommand::List { owner } => {
                let id = REGISTRY.id_of(&mut self.client, &owner.reference()).await?;
                let field = "data_stream_exports";
                self.list_all(&REGISTRY, "ListDataStreamExports", field, REGISTRY.by_id(&id), COLUMNS).await
            }
            ExportCommand::Delete { owner, ds_export_id, wait } => {
                let id = REGISTRY.id_of(&mut self.client, &owner.reference()).await?;
                let request = json!({ "registry_id": id, "data_stream_export_id": ds_export_id });
                self.change_export("DeleteDataStreamExport", request, wait.no_wait).await
            }
        }
    }

    async fn change_export(&mut self, method: &str, request: Json, no_wait: bool) -> Result<(), CliError> {
        let result = self.client.change(REGISTRY.service, method, request, no_wait).await?;
        print_message(self.format, &result)
    }
}
