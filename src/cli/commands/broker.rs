//! `rookery broker`.

use serde_json::json;

use super::Session;
use crate::cli::arguments::broker::BrokerCommand;
use crate::cli::error::CliError;
use crate::cli::output::table::ID_AND_NAME;
use crate::cli::resource::BROKER;

impl Session {
    /// Runs one command.
    pub async fn broker(&mut self, command: &BrokerCommand) -> Result<(), CliError> {
        match command {
            BrokerCommand::Create(arguments) => self.create_in_folder(&BROKER, arguments).await,
            BrokerCommand::Update(arguments) => self.update_in_folder(&BROKER, arguments).await,
            BrokerCommand::Get(targets) => self.get(&BROKER, targets).await,
            BrokerCommand::List(limit) => {
                let request = json!({ "folder_id": self.client.folder_id() });
                self.list_resources(&BROKER, request, limit.limit, ID_AND_NAME).await
            }
            BrokerCommand::Logs(arguments) => self.logs(&BROKER, arguments).await,
            BrokerCommand::Delete(arguments) => self.change_each(&BROKER, "Delete", arguments).await,
            BrokerCommand::AddLabels(arguments) => self.add_labels(&BROKER, arguments).await,
            BrokerCommand::RemoveLabels(arguments) => self.remove_labels(&BROKER, arguments).await,
            BrokerCommand::Certificate(command) => self.certificate(&BROKER, command).await,
            BrokerCommand::Password(command) => self.password(&BROKER, command).await,
        }
    }
}
