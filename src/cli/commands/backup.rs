//! `rookery backup`: a file that the API sends, checked here; and the directory of a node made out of one.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost_reflect::DynamicMessage;
use serde_json::json;

use super::Session;
use crate::cli::arguments::Format;
use crate::cli::arguments::backup::RestoreArguments;
use crate::cli::error::CliError;
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_object};
use crate::store::backup::{self, BackupContent};

const BACKUP: &str = "rookery.admin.v1.BackupService";

impl Session {
    /// Writes a backup to a file, which gets its name when it is complete and was checked.
    pub async fn create_backup(&mut self, file: &Path) -> Result<(), CliError> {
        if file.exists() {
            let rule = "must name a file that does not exist".to_owned();
            return Err(CliError::Argument { flag: "FILE", rule, value: file.display().to_string() });
        }
        let unfinished = Unfinished::create(file)?;
        let mut chunks = self.client.watch(BACKUP, "Create", json!({})).await?;
        while let Some(chunk) = chunks.next().await? {
            unfinished.write(&data(&chunk)?)?;
        }
        unfinished.file.sync_all().map_err(using(&unfinished.path))?;
        let content = checked(&unfinished.path)?;
        fs::rename(&unfinished.path, file).map_err(using(file))?;
        print(self.format, &content)
    }
}

/// Checks a backup and says what is in it. Needs no server.
///
/// # Errors
/// [`CliError`], which names the rule that the file breaks.
pub fn verify(file: &Path, format: Format) -> Result<(), CliError> {
    print(format, &checked(file)?)
}

/// Makes a node's data directory out of a backup. Needs no server.
///
/// # Errors
/// [`CliError`]; nothing was changed.
pub fn restore(arguments: &RestoreArguments) -> Result<(), CliError> {
    let RestoreArguments { file, to } = arguments;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(using(to))?;
    let restored = backup::restore(file, to).map_err(|error| CliError::NotDone(error.to_string()))?;
    note(&format!(
        "the directory is a cluster of one node now: cluster {}, node {}, log index {}",
        restored.cluster_id, restored.node_id, restored.last_log_index
    ));
    note("start it with this data directory, then the other nodes with empty data directories and --join");
    Ok(())
}

fn checked(file: &Path) -> Result<BackupContent, CliError> {
    backup::verify(file).map_err(|error| CliError::NotDone(error.to_string()))
}

fn print(format: Format, content: &BackupContent) -> Result<(), CliError> {
    let number = |number: usize| Value::Number((number as u64).into());
    let hash: String = content.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let fields = [
        ("cluster_id", Value::Text(content.facts.cluster_id.clone())),
        ("log_index", Value::Number(content.facts.log_index.into())),
        ("bytes", Value::Number(content.facts.bytes.into())),
        ("registries", number(content.registries)),
        ("devices", number(content.devices)),
        ("brokers", number(content.brokers)),
        ("stored_messages", Value::Number(content.stored_messages.into())),
        ("content_hash", Value::Text(hash)),
    ];
    print_object(format, &Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).to_vec()))
}

fn data(chunk: &DynamicMessage) -> Result<Vec<u8>, CliError> {
    let field = chunk.get_field_by_name("data");
    let bytes = field.as_ref().and_then(|value| value.as_bytes());
    bytes.map(|bytes| bytes.to_vec()).ok_or_else(|| CliError::Answer("a chunk without data".to_owned()))
}

/// A file that is removed unless it was renamed.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    fn create(final_path: &Path) -> Result<Self, CliError> {
        let mut name = final_path.file_name().unwrap_or_default().to_owned();
        name.push(".unfinished");
        let path = final_path.with_file_name(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(using(&path))?;
        Ok(Self { path, file })
    }

    fn write(&self, bytes: &[u8]) -> Result<(), CliError> {
        (&self.file).write_all(bytes).map_err(using(&self.path))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Gone already when all went well.
        let _ = fs::remove_file(&self.path);
    }
}

fn using(path: &Path) -> impl FnOnce(std::io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::File { action: "use", path, error }
}
