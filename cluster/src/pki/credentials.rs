//! What a member holds: its own key and certificate, and the cluster's authority. Kept in `<data_dir>/peer/`:
//! `ca.pem`, `ca.key`, `node.pem`, `node.key`, readable by their owner only.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::authority::{Authority, NodeKey, certificate_from_pem};
use super::{PeerIdentity, PkiError};
use crate::error::StartError;
use crate::identity::{io_error, sync_parent};

const DIRECTORY: &str = "peer";
const CA_CERTIFICATE: &str = "ca.pem";
const CA_KEY: &str = "ca.key";
const NODE_CERTIFICATE: &str = "node.pem";
const NODE_KEY: &str = "node.key";

/// The credentials of a member of a cluster.
pub(crate) struct Credentials {
    identity: PeerIdentity,
    authority: Authority,
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    key_pem: Zeroizing<String>,
}

impl Credentials {
    /// Those of the node that founds a cluster: with a new authority.
    pub(crate) fn found(identity: &PeerIdentity) -> Result<Credentials, PkiError> {
        let authority = Authority::generate(&identity.cluster_id)?;
        let key = NodeKey::generate()?;
        let certificate_pem = authority.certify(&key.request()?, identity)?;
        Credentials::new(authority, &certificate_pem, key.pem())
    }

    /// Those of a node that was certified; the identity is that of its certificate.
    ///
    /// # Errors
    /// When the certificate names no node, or the key is not the certificate's.
    pub(crate) fn new(
        authority: Authority,
        certificate_pem: &str,
        key_pem: Zeroizing<String>,
    ) -> Result<Credentials, PkiError> {
        let certificate = certificate_from_pem(certificate_pem, "the node's certificate")?;
        let identity = PeerIdentity::of_certificate(&certificate)?;
        let credentials = Credentials {
            identity,
            authority,
            certificate_pem: certificate_pem.to_owned(),
            certificate,
            key_pem,
        };
        // Notices a key that is not the certificate's.
        super::tls::member_server(&credentials)?;
        Ok(credentials)
    }

    /// Reads the files. `None` if the node never had any.
    pub(crate) fn load(data_dir: &Path) -> Result<Option<Credentials>, StartError> {
        let directory = data_dir.join(DIRECTORY);
        let Some(certificate_pem) = read(&directory.join(NODE_CERTIFICATE))? else { return Ok(None) };
        let required = |name: &str| {
            let path = directory.join(name);
            let missing = || invalid(&path, &"it must exist");
            read(&path).and_then(|text| text.ok_or_else(missing))
        };
        let key_pem = required(NODE_KEY)?;
        let authority = Authority::from_pem(&required(CA_CERTIFICATE)?, &required(CA_KEY)?);
        let credentials =
            authority.and_then(|authority| Credentials::new(authority, &certificate_pem, key_pem));
        credentials.map(Some).map_err(|error| invalid(&directory, &error))
    }

    /// Writes the files. They are on disk when this returns; the node's certificate is written last, so that its presence
    /// means that all are there.
    pub(crate) fn save(&self, data_dir: &Path) -> Result<(), StartError> {
        let directory = data_dir.join(DIRECTORY);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(io_error("create", &directory))?;
        let files = [
            (CA_CERTIFICATE, self.authority.certificate_pem()),
            (CA_KEY, self.authority.key_pem()),
            (NODE_KEY, &self.key_pem),
            (NODE_CERTIFICATE, &self.certificate_pem),
        ];
        for (name, text) in files {
            let path = directory.join(name);
            write_private(&path, text).map_err(io_error("write", &path))?;
        }
        sync_parent(&directory).map_err(io_error("sync", data_dir))
    }

    /// Which node of which cluster.
    pub(crate) fn identity(&self) -> &PeerIdentity {
        &self.identity
    }

    /// The cluster's authority.
    pub(crate) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The node's certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The node's key, as TLS wants it.
    pub(crate) fn key(&self) -> Result<PrivateKeyDer<'static>, PkiError> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|_invalid| PkiError::Pem { what: "the node's key" })
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, StartError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_error("read", path)(error)),
    }
}

/// Replaces a file that only its owner may read, so that after a crash either the old or the new content is there.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    if let Err(error) = std::fs::remove_file(&temporary)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

fn invalid(path: &Path, rule: &dyn std::fmt::Display) -> StartError {
    StartError::CredentialsInvalid { path: PathBuf::from(path), rule: rule.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_files_come_back_and_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Credentials::load(dir.path()).unwrap().is_none());
        let identity = PeerIdentity { cluster_id: "c1".to_owned(), node_id: 1 };
        let made = Credentials::found(&identity).unwrap();
        made.save(dir.path()).unwrap();
        made.save(dir.path()).unwrap();
        let peer = dir.path().join(DIRECTORY);
        assert_eq!(mode(&peer), 0o700);
        for name in [CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_KEY] {
            assert_eq!(mode(&peer.join(name)), 0o600, "{name}");
        }
        let loaded = Credentials::load(dir.path()).unwrap().unwrap();
        assert_eq!(loaded.identity(), &identity);
        assert_eq!(loaded.certificate(), made.certificate());
    }

    #[test]
    fn a_foreign_key_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let identity = PeerIdentity { cluster_id: "c1".to_owned(), node_id: 1 };
        Credentials::found(&identity).unwrap().save(dir.path()).unwrap();
        let key = dir.path().join(DIRECTORY).join(NODE_KEY);
        std::fs::write(&key, NodeKey::generate().unwrap().pem().as_bytes()).unwrap();
        assert!(matches!(Credentials::load(dir.path()), Err(StartError::CredentialsInvalid { .. })));
        std::fs::remove_file(&key).unwrap();
        let error = Credentials::load(dir.path()).err().unwrap();
        assert!(error.to_string().contains("node.key"), "{error}");
    }
}
