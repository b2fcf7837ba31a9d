//! The way to the other nodes of the cluster: the listener, and the secret that admits a node.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use rookery_cluster::PeerOptions;
use zeroize::Zeroizing;

use super::StartError;
use super::first_start::write_secret;
use crate::config::Config;
use crate::store::STORAGE_DIRECTORY;

/// The file with the secret that admits nodes, in the data directory, if the operator gives none.
const JOIN_SECRET_FILE: &str = "join.secret";

/// What shows that a node has its place in a cluster, in the storage.
const IDENTITY_FILE: &str = "identity.json";

/// Fewest bytes of a secret.
const SECRET_BYTES_MIN: usize = 16;

/// Random bytes of a secret that the node makes, printed as hexadecimal digits.
const SECRET_BYTES: usize = 32;

/// Binds the listener for peers and reads what belongs to it; `None` if the node runs without.
pub fn options(config: &Config) -> Result<Option<PeerOptions>, StartError> {
    let Some(listener) = bind(config)? else { return Ok(None) };
    Ok(Some(PeerOptions {
        listener,
        advertise: config.cluster.advertise.clone().unwrap_or_default(),
        join: config.cluster.join.clone(),
        expect_voters: config.cluster.expect_voters,
        voters: config.cluster.voters,
        never_votes: !config.cluster.vote,
        join_secret: join_secret(config)?,
        lease: config.cluster.lease,
    }))
}

fn bind(config: &Config) -> Result<Option<TcpListener>, StartError> {
    let Some(address) = config.listen.peer else { return Ok(None) };
    // Who runs one node and gives no address for peers has none, and may run a second node beside it.
    let may_do_without = !config.listen.peer_is_given && config.cluster.founds_alone();
    match TcpListener::bind(address) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if may_do_without && error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(
                %address,
                "the default address of the peer listener is in use: no other node can join this one (--peer gives it another)"
            );
            Ok(None)
        }
        Err(error) => Err(StartError::Bind { name: "peer", address, error }),
    }
}

/// The secret of the given file, or the one in the data directory, made on the first start.
fn join_secret(config: &Config) -> Result<Zeroizing<Vec<u8>>, StartError> {
    if let Some(file) = &config.cluster.join_secret_file {
        return read_secret(file);
    }
    let (data_dir, own) = (&config.node.data_dir, config.node.data_dir.join(JOIN_SECRET_FILE));
    if !own.exists() {
        let has_place = data_dir.join(STORAGE_DIRECTORY).join(IDENTITY_FILE).exists();
        if !has_place && !config.cluster.founds_alone() {
            let text = "a node that joins others needs the secret of their cluster (--join-secret-file)";
            let error = io::Error::new(io::ErrorKind::NotFound, text);
            return Err(StartError::System { what: format!("join secret {}", own.display()), error });
        }
        let random: [u8; SECRET_BYTES] = rand::random();
        let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        write_secret(&own, &Zeroizing::new(text))?;
    }
    read_secret(&own)
}

fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, StartError> {
    let what = format!("join secret {}", path.display());
    let text = fs::read(path).map(Zeroizing::new).map_err(StartError::system(what.clone()))?;
    let secret = text.trim_ascii();
    if secret.len() < SECRET_BYTES_MIN {
        let text = format!("must have at least {SECRET_BYTES_MIN} bytes");
        return Err(StartError::System { what, error: io::Error::new(io::ErrorKind::InvalidData, text) });
    }
    Ok(Zeroizing::new(secret.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Flags, Sources, load};

    fn config(directory: &Path, flags: Flags) -> Config {
        let flags = Flags { data_dir: Some(directory.display().to_string()), ..flags };
        load(&Sources { flags, ..Sources::default() }).expect("valid")
    }

    #[test]
    fn a_founder_makes_its_secret_once_and_for_itself() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let config = config(directory.path(), Flags::default());
        let secret = join_secret(&config).expect("it is made");
        assert_eq!(secret.len(), 2 * SECRET_BYTES);
        assert_eq!(join_secret(&config).expect("it is read"), secret);
        let mode =
            fs::metadata(directory.path().join(JOIN_SECRET_FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn who_joins_brings_the_secret() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let flags = Flags { join: Some(vec!["127.0.0.1:8550".to_owned()]), ..Flags::default() };
        let error = join_secret(&config(directory.path(), flags.clone())).expect_err("none is given");
        assert!(error.to_string().contains("--join-secret-file"), "{error}");
        let file = directory.path().join("secret");
        let with_file = Flags { join_secret_file: Some(file.display().to_string()), ..flags };
        fs::write(&file, "  short \n").expect("it is written");
        assert!(join_secret(&config(directory.path(), with_file.clone())).is_err());
        fs::write(&file, "sixteen bytes ok\n").expect("it is written");
        let secret = join_secret(&config(directory.path(), with_file)).expect("long enough");
        assert_eq!(&**secret, b"sixteen bytes ok");
    }

    #[test]
    fn the_default_address_may_be_taken_and_a_given_one_must_be_had() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = taken.local_addr().expect("it has one");
        let mut config = config(directory.path(), Flags::default());
        config.listen.peer = Some(address);
        assert!(bind(&config).is_ok_and(|listener| listener.is_none()));
        config.listen.peer_is_given = true;
        assert!(matches!(bind(&config), Err(StartError::Bind { name: "peer", .. })));
    }
}
