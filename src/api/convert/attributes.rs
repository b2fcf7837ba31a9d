//! Fields that several resources share: labels, log options, topic aliases, and the patch of an update.

use std::collections::HashMap;

use rookery_proto::yandex::cloud::iot::{broker, devices};
use smol_str::SmolStr;

use crate::api::update_mask::UpdateMask;
use crate::api::validate::Violation;
use crate::domain::catalog::{AttributesPatch, TopicAliases};
use crate::domain::labels::Labels;
use crate::domain::log_options::{LogDestination, LogLevel, LogOptions};

/// Labels of a request.
///
/// # Errors
/// A violation of `labels`.
pub fn labels(pairs: &HashMap<String, String>) -> Result<Labels, Violation> {
    Labels::parse(pairs).map_err(|error| Violation::new("labels", error))
}

/// Labels of a response.
pub fn labels_to_pb(labels: &Labels) -> HashMap<String, String> {
    labels.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Topic aliases of a request; the catalog checks them.
pub fn topic_aliases(aliases: HashMap<String, String>) -> TopicAliases {
    aliases.into_iter().map(|(alias, target)| (SmolStr::new(alias), SmolStr::new(target))).collect()
}

/// Topic aliases of a response.
pub fn topic_aliases_to_pb(aliases: &TopicAliases) -> HashMap<String, String> {
    aliases.iter().map(|(alias, target)| (alias.to_string(), target.to_string())).collect()
}

/// The part of an update that every resource has.
///
/// # Errors
/// A violation of `labels`.
pub fn attributes_patch(
    mask: &UpdateMask<'_>,
    name: &str,
    description: &str,
    pairs: &HashMap<String, String>,
) -> Result<AttributesPatch, Violation> {
    Ok(AttributesPatch {
        name: mask.covers("name").then(|| SmolStr::new(name)),
        description: mask.covers("description").then(|| SmolStr::new(description)),
        labels: mask.covers("labels").then(|| labels(pairs)).transpose()?,
    })
}

/// Log options of a registry request.
///
/// # Errors
/// A violation of a field of `log_options`.
pub fn log_options_of_registry(options: devices::v1::LogOptions) -> Result<LogOptions, Violation> {
    use devices::v1::log_options::Destination;
    let destination = options.destination.map(|destination| match destination {
        Destination::LogGroupId(id) => LogDestination::LogGroup(SmolStr::new(id)),
        Destination::FolderId(id) => LogDestination::Folder(SmolStr::new(id)),
    });
    log_options(options.disabled, destination, options.min_level)
}

/// Log options of a broker request.
///
/// # Errors
/// A violation of a field of `log_options`.
pub fn log_options_of_broker(options: broker::v1::LogOptions) -> Result<LogOptions, Violation> {
    use broker::v1::log_options::Destination;
    let destination = options.destination.map(|destination| match destination {
        Destination::LogGroupId(id) => LogDestination::LogGroup(SmolStr::new(id)),
        Destination::FolderId(id) => LogDestination::Folder(SmolStr::new(id)),
    });
    log_options(options.disabled, destination, options.min_level)
}

fn log_options(
    disabled: bool,
    destination: Option<LogDestination>,
    min_level: i32,
) -> Result<LogOptions, Violation> {
    let min_level = LogLevel::try_from(min_level).map_err(|error| Violation::new("log_options", error))?;
    let options = LogOptions { disabled, destination, min_level };
    options.check().map_err(|error| Violation::new("log_options", error))?;
    Ok(options)
}

/// Log options of a registry response.
pub fn log_options_to_registry(options: &LogOptions) -> devices::v1::LogOptions {
    use devices::v1::log_options::Destination;
    devices::v1::LogOptions {
        disabled: options.disabled,
        min_level: options.min_level.number(),
        destination: options.destination.as_ref().map(|destination| match destination {
            LogDestination::LogGroup(id) => Destination::LogGroupId(id.to_string()),
            LogDestination::Folder(id) => Destination::FolderId(id.to_string()),
        }),
    }
}

/// Log options of a broker response.
pub fn log_options_to_broker(options: &LogOptions) -> broker::v1::LogOptions {
    use broker::v1::log_options::Destination;
    broker::v1::LogOptions {
        disabled: options.disabled,
        min_level: options.min_level.number(),
        destination: options.destination.as_ref().map(|destination| match destination {
            LogDestination::LogGroup(id) => Destination::LogGroupId(id.to_string()),
            LogDestination::Folder(id) => Destination::FolderId(id.to_string()),
        }),
    }
}
