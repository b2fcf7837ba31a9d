//! `rookery backup`: a file that the API sends, checked here; and the directory of a node made out of one.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use prost_reflect::DynamicMessage;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Session, series};
use crate::cli::arguments::Format;
use crate::cli::arguments::backup::{CreateArguments, KeyArguments, RestoreArguments, VerifyArguments};
use crate::cli::error::CliError;
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_object};
use crate::cli::sealed;
use crate::clock;
use crate::store::backup::{self, BackupContent};
use crate::store::{Formats, Recovered};

/// A shorter secret can be guessed.
const SECRET_BYTES_MIN: usize = 32;

const BACKUP: &str = "rookery.admin.v1.BackupService";

impl Session {
    /// Writes a backup where the arguments say.
    pub async fn create_backup(&mut self, arguments: &CreateArguments) -> Result<(), CliError> {
        let CreateArguments { file, directory, keep, key } = arguments;
        match (file, directory) {
            (Some(file), _) => self.create_backup_file(file, key).await,
            (None, Some(directory)) => {
                self.create_backup_file(&series::next_file(directory, clock::now()), key).await?;
                keep.map_or(Ok(()), |keep| series::remove_oldest(directory, keep.into()))
            }
            (None, None) => Ok(()),
        }
    }

    /// Writes a backup to a file, which gets its name when it is complete and was checked.
    async fn create_backup_file(&mut self, file: &Path, key: &KeyArguments) -> Result<(), CliError> {
        if file.exists() {
            let rule = "must name a file that does not exist".to_owned();
            return Err(CliError::Argument { flag: "FILE", rule, value: file.display().to_string() });
        }
        let secret = secret(key)?;
        let unfinished = Unfinished::create(file, "unfinished")?;
        let mut chunks = self.client.watch(BACKUP, "Create", json!({})).await?;
        while let Some(chunk) = chunks.next().await? {
            unfinished.write(&data(&chunk)?)?;
        }
        unfinished.file.sync_all().map_err(using(&unfinished.path))?;
        let content = checked(&unfinished.path, self.formats)?;
        let complete = match secret {
            Some(secret) => encrypted(&secret, &unfinished, file)?,
            None => unfinished,
        };
        fs::rename(&complete.path, file).map_err(using(file))?;
        print(self.format, &content)
    }
}

/// Checks a backup and says what is in it. Needs no server.
///
/// # Errors
/// [`CliError`], which names the rule that the file breaks.
pub fn verify(arguments: &VerifyArguments, formats: Formats, format: Format) -> Result<(), CliError> {
    let VerifyArguments { file, key } = arguments;
    let plain = Plain::of(file, key, file)?;
    print(format, &checked(plain.path(), formats)?)
}

/// Makes a node's data directory out of a backup. Needs no server.
///
/// # Errors
/// [`CliError`]; nothing was changed.
pub fn restore(arguments: &RestoreArguments, formats: Formats) -> Result<(), CliError> {
    let to = &arguments.to;
    let is_new = !to.exists();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(using(to))?;
    let restored = restore_into(arguments, formats).inspect_err(|_refused| {
        if is_new {
            // Only an empty directory goes; what is left of it otherwise says why.
            let _in_use = fs::remove_dir(to);
        }
    })?;
    note(&format!(
        "the directory is a cluster of one node now: cluster {}, node {}, log index {}",
        restored.cluster_id, restored.node_id, restored.last_log_index
    ));
    note("start it with this data directory, then the other nodes with empty data directories and --join");
    Ok(())
}

fn restore_into(arguments: &RestoreArguments, formats: Formats) -> Result<Recovered, CliError> {
    let RestoreArguments { file, to, key } = arguments;
    let plain = Plain::of(file, key, &to.join("backup"))?;
    backup::restore(plain.path(), to, formats).map_err(|error| CliError::NotDone(error.to_string()))
}

fn checked(file: &Path, formats: Formats) -> Result<BackupContent, CliError> {
    backup::verify(file, formats).map_err(|error| CliError::NotDone(error.to_string()))
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

/// A backup that can be read: the file itself, or what was encrypted in it.
enum Plain<'file> {
    Itself(&'file Path),
    Decrypted(Unfinished),
}

impl<'file> Plain<'file> {
    /// Decrypts the file if it is encrypted, to a file beside `beside`.
    fn of(file: &'file Path, key: &KeyArguments, beside: &Path) -> Result<Self, CliError> {
        let mut input = File::open(file).map_err(CliError::reading(file))?;
        let mut magic = Vec::new();
        let read = (&mut input).take(sealed::MAGIC.len() as u64).read_to_end(&mut magic);
        read.map_err(CliError::reading(file))?;
        let refused = |rule: &str| CliError::Argument {
            flag: "--key-file",
            rule: rule.to_owned(),
            value: file.display().to_string(),
        };
        match (magic == sealed::MAGIC, secret(key)?) {
            (false, None) => Ok(Self::Itself(file)),
            (false, Some(_)) => Err(refused("must be left out for a backup that is not encrypted")),
            (true, None) => Err(refused("must be given for a backup that is encrypted")),
            (true, Some(secret)) => {
                let plain = Unfinished::create(beside, "decrypted")?;
                let unsealed = sealed::unseal(&secret, &mut BufReader::new(input), &mut &plain.file);
                unsealed.map_err(|error| CliError::NotDone(format!("{} {error}", file.display())))?;
                Ok(Self::Decrypted(plain))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Itself(path) => path,
            Self::Decrypted(file) => &file.path,
        }
    }
}

/// Encrypts a complete backup to a second file.
fn encrypted(secret: &[u8], plain: &Unfinished, file: &Path) -> Result<Unfinished, CliError> {
    let sealed = Unfinished::create(file, "sealed")?;
    let mut input = BufReader::new(File::open(&plain.path).map_err(using(&plain.path))?);
    sealed::seal(secret, &mut input, &mut &sealed.file)
        .and_then(|()| sealed.file.sync_all())
        .map_err(using(&sealed.path))?;
    Ok(sealed)
}

/// What the key file holds, without white space around it.
fn secret(key: &KeyArguments) -> Result<Option<Zeroizing<Vec<u8>>>, CliError> {
    let Some(path) = &key.key_file else { return Ok(None) };
    let content = Zeroizing::new(fs::read(path).map_err(CliError::reading(path))?);
    let secret = Zeroizing::new(content.trim_ascii().to_vec());
    if secret.len() < SECRET_BYTES_MIN {
        let rule = format!("must name a file that holds {SECRET_BYTES_MIN} bytes or more");
        return Err(CliError::Argument { flag: "--key-file", rule, value: path.display().to_string() });
    }
    Ok(Some(secret))
}

/// A file that is removed unless it was renamed.
struct Unfinished {
    path: PathBuf,
    file: File,
}

impl Unfinished {
    /// Beside `file`, with a further suffix.
    fn create(file: &Path, suffix: &str) -> Result<Self, CliError> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{suffix}"));
        let path = file.with_file_name(name);
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

pub(super) fn using(path: &Path) -> impl FnOnce(std::io::Error) -> CliError + use<> {
    let path = path.to_owned();
    move |error| CliError::File { action: "use", path, error }
}
