//! `rookery device`.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::Session;
use super::change::{Changes, insert, remove_keys};
use crate::cli::arguments::device::{CreateDevice, DeviceCommand, MaybeRegistry, UpdateDevice};
use crate::cli::arguments::target::{Owner as _, Reference};
use crate::cli::error::CliError;
use crate::cli::output::table::ID_AND_NAME;
use crate::cli::pairs;
use crate::cli::resource::{DEVICE, REGISTRY};

const ALIASES: &str = "--topic-aliases";

impl Session {
    /// Runs one command.
    pub async fn device(&mut self, command: &DeviceCommand) -> Result<(), CliError> {
        match command {
            DeviceCommand::Create(arguments) => self.create_device(arguments).await,
            DeviceCommand::Update(arguments) => self.update_device(arguments).await,
            DeviceCommand::Get(targets) => self.get(&DEVICE, targets).await,
            DeviceCommand::List { registry, limit } => self.list_devices(registry, limit.limit).await,
            DeviceCommand::Logs(arguments) => self.logs(&DEVICE, arguments).await,
            DeviceCommand::Delete(arguments) => self.change_each(&DEVICE, "Delete", arguments).await,
            DeviceCommand::AddTopicAliases(arguments) => {
                let added = pairs::parse(ALIASES, &arguments.topic_aliases)?;
                let edit = |aliases: &mut BTreeMap<String, String>| {
                    aliases.extend(added);
                    Ok(())
                };
                let reference = arguments.target.reference();
                self.edit_map(&DEVICE, &reference, "topic_aliases", edit, arguments.wait.no_wait).await
            }
            DeviceCommand::RemoveTopicAliases(arguments) => {
                let edit = |aliases: &mut BTreeMap<String, String>| {
                    remove_keys(aliases, ALIASES, &arguments.topic_aliases)
                };
                let reference = arguments.target.reference();
                self.edit_map(&DEVICE, &reference, "topic_aliases", edit, arguments.wait.no_wait).await
            }
            DeviceCommand::Certificate(command) => self.certificate(&DEVICE, command).await,
            DeviceCommand::Password(command) => self.password(&DEVICE, command).await,
        }
    }

    async fn create_device(&mut self, arguments: &CreateDevice) -> Result<(), CliError> {
        let aliases = pairs::parse(ALIASES, &arguments.topic_aliases)?;
        let registry_id = REGISTRY.id_of(&mut self.client, &arguments.registry.reference()).await?;
        let mut request = Map::new();
        request.insert("registry_id".to_owned(), json!(registry_id));
        insert(&mut request, "name", arguments.positional_name.as_ref().or(arguments.name.as_ref()));
        insert(&mut request, "description", arguments.description.as_ref());
        request.insert("topic_aliases".to_owned(), json!(aliases));
        self.create(&DEVICE, request, &arguments.credentials, arguments.wait.no_wait).await
    }

    async fn update_device(&mut self, arguments: &UpdateDevice) -> Result<(), CliError> {
        let mut changes = Changes::default();
        changes.set("name", arguments.new_name.as_ref().map(|name| json!(name)));
        changes.set("description", arguments.description.as_ref().map(|text| json!(text)));
        let aliases = arguments.topic_aliases.as_ref().map(|aliases| pairs::parse(ALIASES, aliases));
        changes.set("topic_aliases", aliases.transpose()?.map(|aliases| json!(aliases)));
        let flags = "--new-name, --description, --topic-aliases";
        self.update(&DEVICE, &arguments.target, changes, flags, arguments.wait.no_wait).await
    }

    async fn list_devices(&mut self, registry: &MaybeRegistry, limit: u32) -> Result<(), CliError> {
        let by_id = registry.registry_id.clone().map(Reference::Id);
        let request = match by_id.or(registry.registry_name.clone().map(Reference::Name)) {
            Some(reference) => json!({ "registry_id": REGISTRY.id_of(&mut self.client, &reference).await? }),
            None => json!({ "folder_id": self.client.folder_id() }),
        };
        self.list_resources(&DEVICE, request, limit, ID_AND_NAME).await
    }
}
