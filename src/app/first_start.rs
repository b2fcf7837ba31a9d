//! What a node makes when its data directory is empty: the directory itself, its certificates, the administrator's
//! token.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::StartError;
use crate::actors::own_node::OwnNode;
use crate::api::access::hash_secret;
use crate::api::grpc::token::fresh_secret;
use crate::clock;
use crate::config::Config;
use crate::domain::catalog::Catalog;
use crate::domain::token::TokenHash;
use crate::net::pki::{self, PkiError, ServerIdentity, ServerNames};
use crate::store::{CatalogHandle, STORAGE_DIRECTORY, StoreError, departure, fresh_id};

/// The file that holds the administrator's token, in the data directory.
pub const ADMIN_TOKEN_FILE: &str = "admin.token";

/// Empties the storage of a node that has left its cluster, and creates what is missing: the data directory and the storage
/// in it, both for their owner only. The storage keeps hashes of credentials
/// and stored messages, so it is closed to others even if the operator opened the directory around it.
pub fn prepare_data_dir(path: &Path) -> Result<(), StartError> {
    let storage = path.join(STORAGE_DIRECTORY);
    let create = || {
        if departure::clean(path)? {
            tracing::info!(
                "this node has left its cluster: its storage was emptied, and it joins as a new node"
            );
        }
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

/// The node that founded the cluster, by its Raft identifier.
const FOUNDER: u32 = 1;

/// How this node sees to it that there is an administrator.
pub struct Administrator {
    catalog: CatalogHandle,
    own_node: OwnNode,
    /// Of the token that the operator gives in a file.
    given: Option<TokenHash>,
    /// Where the founder's first token is written.
    path: PathBuf,
}

impl Administrator {
    /// Reads the token of the file that the configuration names, if it names one.
    pub fn new(catalog: CatalogHandle, own_node: OwnNode, config: &Config) -> Result<Self, StartError> {
        let given = config.security.admin_token_file.as_deref().map(given_token).transpose()?;
        Ok(Self { catalog, own_node, given, path: config.node.data_dir.join(ADMIN_TOKEN_FILE) })
    }

    /// Makes the token of the given file known; or, on the node that founded the cluster and if there is no administrator
    /// yet, makes a token and writes it to `admin.token` in the data directory (mode 0600). Other nodes take the tokens that
    /// the cluster has.
    pub async fn ensure(&self) -> Result<(), StoreError> {
        if let Some(hash) = self.given {
            return self.catalog.ensure_token_of_file(hash).await.map(|_| ());
        }
        if self.own_node.get() != Some(FOUNDER) || self.catalog.read(Catalog::has_administrator) {
            return Ok(());
        }
        let secret = fresh_secret(&fresh_id());
        // Written first: a crash in between leaves a file that the next start replaces, never a token that nobody knows.
        write_secret(&self.path, &secret).map_err(|error| StoreError::Unavailable {
            reason: error.to_string(),
            may_have_applied: false,
        })?;
        self.catalog.ensure_administrator(hash_secret(secret.as_bytes())).await.map(|_| ())
    }

    /// Does so when the cluster can store it.
    pub async fn ensure_later(self) {
        let attempt = || self.ensure();
        if let Err(error) = self.catalog.until_stored("the administrator's token", attempt).await {
            tracing::warn!(%error, "the administrator's token is not in force");
        }
    }
}

fn given_token(file: &Path) -> Result<TokenHash, StartError> {
    let what = || format!("token file {}", file.display());
    let text = fs::read_to_string(file).map_err(StartError::system(what()))?;
    if text.trim().is_empty() {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "must hold a token, and is empty");
        return Err(StartError::System { what: what(), error });
    }
    Ok(hash_secret(text.trim().as_bytes()))
}

/// Writes a secret for the owner only: the whole of it or nothing.
pub fn write_secret(path: &Path, secret: &str) -> Result<(), StartError> {
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
    write().map_err(StartError::system(format!("secret file {}", path.display())))
}
