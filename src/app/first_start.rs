//! What a node makes when its data directory is empty: the directory itself, its certificates, the administrator's
//! token.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::StartError;
use crate::api::access::hash_secret;
use crate::api::grpc::token::fresh_secret;
use crate::clock;
use crate::config::Config;
use crate::domain::catalog::Catalog;
use crate::net::pki::{self, PkiError, ServerIdentity, ServerNames};
use crate::store::{CatalogHandle, fresh_id};

/// The file that holds the administrator's token, in the data directory.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// The part of the data directory that holds the log and the snapshots.
pub const STORAGE_DIRECTORY: &str = "raft";

/// Creates the data directory and the storage in it, both for their owner only. The storage keeps hashes of credentials
/// and stored messages, so it is closed to others even if the operator opened the directory around it.
pub fn create_data_dir(path: &Path) -> Result<(), StartError> {
    let storage = path.join(STORAGE_DIRECTORY);
    let create = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&storage)?;
        fs::set_permissions(&storage, fs::Permissions::from_mode(0o700))
    };
    create().map_err(StartError::system(format!("data directory {}", path.display())))
}

/// The certificate given by the operator, or the one that the node makes for itself.
pub fn server_identity(config: &Config) -> Result<ServerIdentity, PkiError> {
    match &config.security.tls {
        Some((certificate, key)) => pki::load(certificate, key),
        None => {
            let directory = config.node.data_dir.join("pki");
            pki::open_or_create(
                &directory,
                &ServerNames::new(&config.security.tls_names),
                clock::system_time(),
            )
        }
    }
}

/// Makes sure that there is an administrator: the token of the given file, or one made on the first start and written
/// to `admin.token` in the data directory (mode 0600).
pub async fn ensure_administrator(catalog: &CatalogHandle, config: &Config) -> Result<(), StartError> {
    if let Some(file) = &config.security.admin_token_file {
        let text =
            fs::read_to_string(file).map_err(StartError::system(format!("token file {}", file.display())))?;
        if text.trim().is_empty() {
            let error =
                std::io::Error::new(std::io::ErrorKind::InvalidData, "must hold a token, and is empty");
            return Err(StartError::System { what: format!("token file {}", file.display()), error });
        }
        catalog.ensure_token_of_file(hash_secret(text.trim().as_bytes())).await?;
        return Ok(());
    }
    if catalog.read(Catalog::has_administrator) {
        return Ok(());
    }
    let secret = fresh_secret(&fresh_id());
    // Written first: a crash in between leaves a file that the next start replaces, never a token that nobody knows.
    write_secret(&config.node.data_dir.join(ADMIN_TOKEN_FILE), &secret)?;
    catalog.ensure_administrator(hash_secret(secret.as_bytes())).await?;
    Ok(())
}

fn write_secret(path: &Path, secret: &str) -> Result<(), StartError> {
    let write = || {
        let temporary = path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{secret}")?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The name too: after a power loss the token would be in force, and in no file.
        match path.parent() {
            Some(parent) => fs::File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(StartError::system(format!("token file {}", path.display())))
}
