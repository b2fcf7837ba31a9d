//! Commands that change a resource: the parts that registries, devices and brokers have in common.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use prost_reflect::DynamicMessage;
use serde_json::{Map, Value as Json, json};

use super::Session;
use crate::cli::arguments::credential::NewCredentials;
use crate::cli::arguments::registry::{
    ChangeLabels, CreateResource, LogArguments, TargetsAndWait, UpdateResource,
};
use crate::cli::arguments::target::{Reference, Target, Targets};
use crate::cli::error::CliError;
use crate::cli::output::value::{Spelling, Value};
use crate::cli::output::{print_message, print_object, print_objects};
use crate::cli::pairs;
use crate::cli::resource::{Kind, id_in};
use crate::cli::secret::{self, NewPassword};

/// The fields of an update, and the mask that names them.
#[derive(Default)]
pub(super) struct Changes {
    fields: Map<String, Json>,
}

impl Changes {
    /// Sets a field if it is given.
    pub fn set(&mut self, field: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.fields.insert(field.to_owned(), value);
        }
    }

    /// The request, or an error when nothing is given.
    fn into_request(self, kind: &Kind, id: &str, flags: &'static str) -> Result<Json, CliError> {
        if self.fields.is_empty() {
            return Err(CliError::NothingToChange(flags));
        }
        let mask: Vec<String> = self.fields.keys().map(|field| camel_case(field)).collect();
        let mut request = self.fields;
        request.insert(kind.id_field.to_owned(), json!(id));
        // The JSON form of a field mask: paths in camelCase, separated by commas.
        request.insert("update_mask".to_owned(), json!(mask.join(",")));
        Ok(Json::Object(request))
    }
}

fn camel_case(field: &str) -> String {
    let mut words = field.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.push_str(letters.as_str());
    }
    name
}

impl Session {
    /// `get`
    pub(super) async fn get(&mut self, kind: &'static Kind, targets: &Targets) -> Result<(), CliError> {
        let mut found = Vec::new();
        for reference in targets.references() {
            found.push(kind.find(&mut self.client, &reference).await?);
        }
        print_objects(self.format, &found)
    }

    /// `delete`, `enable`, `disable`: one call per resource. All are looked up before any is changed,
    /// so a misspelled name changes nothing.
    pub(super) async fn change_each(
        &mut self,
        kind: &'static Kind,
        method: &str,
        arguments: &TargetsAndWait,
    ) -> Result<(), CliError> {
        let mut ids = Vec::new();
        for reference in arguments.targets.references() {
            ids.push(kind.id_of(&mut self.client, &reference).await?);
        }
        let mut results = Vec::new();
        for id in ids {
            let no_wait = arguments.wait.no_wait;
            results.push(self.client.change(kind.service, method, kind.by_id(&id), no_wait).await?);
        }
        if let [result] = results.as_slice() {
            return print_message(self.format, result);
        }
        let values = results.iter().map(|result| Value::from_message(result, self.format.spelling()));
        let mut values = values.collect::<Result<Vec<_>, _>>()?;
        values.retain(|value| !value.is_empty_object());
        match values.is_empty() {
            true => print_object(self.format, &Value::Object(Vec::new())),
            false => print_object(self.format, &Value::List(values)),
        }
    }

    /// `create` of a registry or broker.
    pub(super) async fn create_in_folder(
        &mut self,
        kind: &'static Kind,
        arguments: &CreateResource,
    ) -> Result<(), CliError> {
        let mut request = Map::new();
        request.insert("folder_id".to_owned(), json!(self.client.folder_id()));
        let name = arguments.positional_name.as_ref().or(arguments.name.as_ref());
        insert(&mut request, "name", name);
        insert(&mut request, "description", arguments.description.as_ref());
        request.insert("labels".to_owned(), json!(pairs::parse("--labels", &arguments.labels)?));
        if let Some(log_options) = log_options(&arguments.log) {
            request.insert("log_options".to_owned(), Json::Object(log_options));
        }
        self.create(kind, request, &arguments.credentials, arguments.wait.no_wait).await
    }

    /// Adds the credentials to a create request, makes the call and prints the result.
    pub(super) async fn create(
        &mut self,
        kind: &'static Kind,
        mut request: Map<String, Json>,
        credentials: &NewCredentials,
        no_wait: bool,
    ) -> Result<(), CliError> {
        let mut certificates = Vec::new();
        for path in &credentials.certificate_files {
            certificates.push(json!({ "certificate_data": read_text(path)? }));
        }
        request.insert("certificates".to_owned(), Json::Array(certificates));
        let password = secret::obtain(&credentials.password)?;
        if let Some(password) = &password {
            request.insert("password".to_owned(), json!(password.text.as_str()));
        }
        let result = self.client.change(kind.service, "Create", Json::Object(request), no_wait).await?;
        self.print_with_password(&result, password.as_ref())
    }

    /// Prints a result, with a generated password as its last field.
    pub(super) fn print_with_password(
        &self,
        result: &DynamicMessage,
        password: Option<&NewPassword>,
    ) -> Result<(), CliError> {
        let mut value = Value::from_message(result, self.format.spelling())?;
        if let Some(password) = password.filter(|password| password.generated) {
            value.push_text("password", &password.text);
        }
        print_object(self.format, &value)
    }

    /// `update` of a registry or broker.
    pub(super) async fn update_in_folder(
        &mut self,
        kind: &'static Kind,
        arguments: &UpdateResource,
    ) -> Result<(), CliError> {
        const FLAGS: &str = "--new-name, --description, --labels, --no-logging, --log-group-id, --log-folder-id, \
                             --min-log-level";
        let mut changes = Changes::default();
        changes.set("name", arguments.new_name.as_ref().map(|name| json!(name)));
        changes.set("description", arguments.description.as_ref().map(|text| json!(text)));
        let labels = arguments.labels.as_ref().map(|labels| pairs::parse("--labels", labels));
        changes.set("labels", labels.transpose()?.map(|labels| json!(labels)));
        if let Some(given) = log_options(&arguments.log) {
            let resource = kind.find(&mut self.client, &arguments.target.reference()).await?;
            let resource = json!(Value::from_message(&resource, Spelling::Snake)?);
            changes.set("log_options", Some(changed_log_options(&resource["log_options"], given)));
        }
        self.update(kind, &arguments.target, changes, FLAGS, arguments.wait.no_wait).await
    }

    /// Makes an update and prints the result.
    pub(super) async fn update(
        &mut self,
        kind: &'static Kind,
        target: &Target,
        changes: Changes,
        flags: &'static str,
        no_wait: bool,
    ) -> Result<(), CliError> {
        let id = match changes.fields.is_empty() {
            // Refused below, without asking the server.
            true => String::new(),
            false => kind.id_of(&mut self.client, &target.reference()).await?,
        };
        let request = changes.into_request(kind, &id, flags)?;
        let result = self.client.change(kind.service, "Update", request, no_wait).await?;
        print_message(self.format, &result)
    }

    /// Changes some entries of a map field: reads it, edits it and writes the whole, as the API
    /// replaces maps whole.
    pub(super) async fn edit_map(
        &mut self,
        kind: &'static Kind,
        reference: &Reference,
        field: &'static str,
        edit: impl FnOnce(&mut BTreeMap<String, String>) -> Result<(), CliError>,
        no_wait: bool,
    ) -> Result<(), CliError> {
        let resource = kind.find(&mut self.client, reference).await?;
        let mut entries = text_map(&resource, field);
        edit(&mut entries)?;
        let mut changes = Changes::default();
        changes.set(field, Some(json!(entries)));
        let request = changes.into_request(kind, &id_in(&resource)?, field)?;
        let result = self.client.change(kind.service, "Update", request, no_wait).await?;
        print_message(self.format, &result)
    }

    /// `add-labels`
    pub(super) async fn add_labels(
        &mut self,
        kind: &'static Kind,
        arguments: &ChangeLabels,
    ) -> Result<(), CliError> {
        let added = pairs::parse("--labels", &arguments.labels)?;
        let edit = |labels: &mut BTreeMap<String, String>| {
            labels.extend(added);
            Ok(())
        };
        self.edit_map(kind, &arguments.target.reference(), "labels", edit, arguments.wait.no_wait).await
    }

    /// `remove-labels`
    pub(super) async fn remove_labels(
        &mut self,
        kind: &'static Kind,
        arguments: &ChangeLabels,
    ) -> Result<(), CliError> {
        let edit = |labels: &mut BTreeMap<String, String>| remove_keys(labels, "--labels", &arguments.labels);
        self.edit_map(kind, &arguments.target.reference(), "labels", edit, arguments.wait.no_wait).await
    }
}

/// Removes entries by key; a key that is not there is an error.
pub(super) fn remove_keys(
    entries: &mut BTreeMap<String, String>,
    flag: &'static str,
    keys: &[String],
) -> Result<(), CliError> {
    for key in keys {
        let missing =
            || CliError::Argument { flag, rule: "must name existing keys".to_owned(), value: key.clone() };
        entries.remove(key).ok_or_else(missing)?;
    }
    Ok(())
}

/// A map of texts in a message.
fn text_map(message: &DynamicMessage, field: &str) -> BTreeMap<String, String> {
    let value = message.get_field_by_name(field);
    let Some(map) = value.as_deref().and_then(prost_reflect::Value::as_map) else {
        return BTreeMap::new();
    };
    let pairs =
        map.iter().filter_map(|(key, value)| Some((key.as_str()?.to_owned(), value.as_str()?.to_owned())));
    pairs.collect()
}

/// Sets a text field if it is given.
pub(super) fn insert(request: &mut Map<String, Json>, field: &str, value: Option<&String>) {
    if let Some(value) = value {
        request.insert(field.to_owned(), json!(value));
    }
}

/// A text file; `-` is standard input.
pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    match path.to_str() {
        Some("-") => io::read_to_string(io::stdin())
            .map_err(|error| CliError::Stream { stream: "standard input", error }),
        _ => fs::read_to_string(path).map_err(CliError::reading(path)),
    }
}

/// The present log options with those that are given, as the API replaces log options whole. Logging that was switched
/// off goes on again when a destination is given.
fn changed_log_options(present: &Json, given: Map<String, Json>) -> Json {
    const DESTINATIONS: [&str; 2] = ["log_group_id", "folder_id"];
    let mut options = present.as_object().cloned().unwrap_or_default();
    if DESTINATIONS.iter().any(|field| given.contains_key(*field)) {
        for field in DESTINATIONS.into_iter().chain(["disabled"]) {
            options.remove(field);
        }
    }
    options.extend(given);
    Json::Object(options)
}

/// The log options that are given, or `None` when no flag is.
fn log_options(arguments: &LogArguments) -> Option<Map<String, Json>> {
    let mut options = Map::new();
    if arguments.no_logging {
        options.insert("disabled".to_owned(), json!(true));
    }
    insert(&mut options, "log_group_id", arguments.log_group_id.as_ref());
    insert(&mut options, "folder_id", arguments.log_folder_id.as_ref());
    if let Some(level) = arguments.min_log_level {
        options.insert("min_level".to_owned(), json!(format!("{level:?}").to_uppercase()));
    }
    (!options.is_empty()).then_some(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_options_that_are_not_given_stay() {
        // `registry update r --min-log-level warn` wrote log options with nothing but the level: the log group was gone.
        let changed = |present: Json, given: Json| {
            changed_log_options(&present, given.as_object().cloned().unwrap_or_default())
        };
        let group = json!({ "log_group_id": "ckg1", "min_level": "WARN" });
        let louder = json!({ "log_group_id": "ckg1", "min_level": "DEBUG" });
        assert_eq!(changed(group.clone(), json!({ "min_level": "DEBUG" })), louder);
        let off = json!({ "log_group_id": "ckg1", "min_level": "WARN", "disabled": true });
        assert_eq!(changed(group, json!({ "disabled": true })), off);
        let folder = json!({ "folder_id": "b1g", "min_level": "WARN" });
        assert_eq!(changed(off, json!({ "folder_id": "b1g" })), folder, "one destination, and on again");
        assert_eq!(changed(Json::Null, json!({ "disabled": true })), json!({ "disabled": true }));
    }

    #[test]
    fn field_names_become_mask_paths() {
        assert_eq!(camel_case("name"), "name");
        assert_eq!(camel_case("topic_aliases"), "topicAliases");
    }
}
