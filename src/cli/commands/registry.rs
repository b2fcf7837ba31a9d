//! `rookery registry`.

use serde_json::json;

use super::Session;
use crate::cli::arguments::registry::RegistryCommand;
use crate::cli::error::CliError;
use crate::cli::output::table::{Column, ID, NAME};
use crate::cli::resource::{Pages, REGISTRY};

const STATUS: Column = Column { heading: "STATUS", field: "status" };

const ALIAS_COLUMNS: &[Column] = &[
    Column { heading: "ALIAS", field: "alias" },
    Column { heading: "TOPIC PREFIX", field: "topic_prefix" },
    Column { heading: "DEVICE ID", field: "device_id" },
];

impl Session {
    /// Runs one command.
    pub async fn registry(&mut self, command: &RegistryCommand) -> Result<(), CliError> {
        match command {
            RegistryCommand::Create(arguments) => self.create_in_folder(&REGISTRY, arguments).await,
            RegistryCommand::Update(arguments) => self.update_in_folder(&REGISTRY, arguments).await,
            RegistryCommand::Get(targets) => self.get(&REGISTRY, targets).await,
            RegistryCommand::List(limit) => {
                let request = json!({ "folder_id": self.client.folder_id() });
                self.list_resources(&REGISTRY, request, limit.limit, &[ID, NAME, STATUS]).await
            }
            RegistryCommand::Logs(arguments) => self.logs(&REGISTRY, arguments).await,
            RegistryCommand::Delete(arguments) => self.change_each(&REGISTRY, "Delete", arguments).await,
            RegistryCommand::Enable(arguments) => self.change_each(&REGISTRY, "Enable", arguments).await,
            RegistryCommand::Disable(arguments) => self.change_each(&REGISTRY, "Disable", arguments).await,
            RegistryCommand::AddLabels(arguments) => self.add_labels(&REGISTRY, arguments).await,
            RegistryCommand::RemoveLabels(arguments) => self.remove_labels(&REGISTRY, arguments).await,
            RegistryCommand::ListDeviceTopicAliases { target, limit } => {
                let id = REGISTRY.id_of(&mut self.client, &target.reference()).await?;
                let pages = Pages::new(&REGISTRY, "ListDeviceTopicAliases", "aliases", REGISTRY.by_id(&id));
                self.list_pages(pages, limit.limit, REGISTRY.page_size_max, ALIAS_COLUMNS).await
            }
            RegistryCommand::Certificate(command) => self.certificate(&REGISTRY, command).await,
            RegistryCommand::Password(command) => self.password(&REGISTRY, command).await,
            RegistryCommand::YdsExport(command) => self.export(command).await,
        }
    }
}
