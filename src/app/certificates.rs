//! Takes a renewed server certificate while the node runs. Connections and handshakes that exist keep the old one.
//!
//! The files are read and compared, not watched: that notices a file that is written in place, one that is replaced, and a
//! link that points elsewhere (as Kubernetes renews secrets), on every file system.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::first_start;
use crate::clock;
use crate::config::Config;
use crate::net::pki::ServerIdentity;
use crate::net::tls::ServerTls;
use crate::observe::metrics::Sample;

/// Time between two looks at the files.
const LOOK: Duration = Duration::from_secs(10);

/// A certificate that the node makes for itself is looked at so often; it is renewed long before its end.
const OWN_LOOK: Duration = Duration::from_secs(24 * 3600);

/// Files that do not fit each other are complained about after so many looks: one may have been replaced before the other.
const LOOKS_UNTIL_COMPLAINT: u32 = 2;

/// What is known of the certificate in use, for operators.
#[derive(Debug, Default)]
pub struct CertificateStanding {
    /// End of its validity, in seconds since 1970.
    expires_s: AtomicU64,
    /// Whether the files hold something else that cannot be used.
    is_stale: AtomicBool,
}

impl CertificateStanding {
    /// Of a certificate that was just taken into use.
    pub fn new(identity: &ServerIdentity) -> Self {
        let this = Self::default();
        this.note(identity);
        this
    }

    fn note(&self, identity: &ServerIdentity) {
        let expires = identity.not_after().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.expires_s.store(expires.as_secs(), Ordering::Relaxed);
        self.is_stale.store(false, Ordering::Relaxed);
    }

    /// The numbers for the metrics.
    pub fn samples(&self) -> Vec<Sample> {
        vec![
            Sample::gauge(
                "tls_certificate_expiry_timestamp_seconds",
                "End of validity of the server's certificate, in seconds since 1970",
                self.expires_s.load(Ordering::Relaxed),
            ),
            Sample::gauge(
                "tls_certificate_stale",
                "1 while the certificate files hold something that cannot be used, and the old certificate is",
                u64::from(self.is_stale.load(Ordering::Relaxed)),
            ),
        ]
    }
}

/// Looks at the files of one node.
pub struct CertificateWatch {
    config: Config,
    /// The TLS sides of all listeners.
    listeners: Vec<Arc<ServerTls>>,
    standing: Arc<CertificateStanding>,
    /// What the files held when they were used last.
    used: Option<[u8; 32]>,
    /// What they held when they could not be used, and how often that was seen.
    refused: Option<([u8; 32], u32)>,
    /// Whether it was said that the certificate has expired.
    has_told: bool,
}

impl CertificateWatch {
    /// For listeners that have just begun to use what the files hold.
    pub fn new(config: &Config, listeners: Vec<Arc<ServerTls>>, standing: Arc<CertificateStanding>) -> Self {
        let config = config.clone();
        let mut this = Self { config, listeners, standing, used: None, refused: None, has_told: false };
        this.used = this.files().and_then(|(certificate, key)| content(&certificate, &key));
        this
    }

    /// Runs as long as the node.
    pub async fn run(mut self) {
        let mut looks = tokio::time::interval(if self.files().is_some() { LOOK } else { OWN_LOOK });
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            self.look();
            let has_expired = self.standing.expires_s.load(Ordering::Relaxed) < seconds(clock::system_time());
            if has_expired && !self.has_told {
                tracing::error!("the server's certificate has expired: clients refuse it");
            }
            self.has_told = has_expired;
        }
    }

    fn files(&self) -> Option<(PathBuf, PathBuf)> {
        self.config.security.tls.clone()
    }

    fn look(&mut self) {
        let now = match self.files() {
            Some((certificate, key)) => match content(&certificate, &key) {
                // Nothing to read: in the middle of being replaced, or gone. What is in use stays.
                None => return,
                now if now == self.used => {
                    self.refused = None;
                    self.standing.is_stale.store(false, Ordering::Relaxed);
                    return;
                }
                now => now,
            },
            None => None,
        };
        match self.replace() {
            Ok(identity) => {
                if self.files().is_some() {
                    tracing::info!(
                        expires_s = self.standing.expires_s.load(Ordering::Relaxed),
                        certificates = identity.key().cert.len(),
                        "a new server certificate is in use"
                    );
                }
                (self.used, self.refused) = (now, None);
            }
            Err(error) => self.complain(now.unwrap_or_default(), &error),
        }
    }

    fn replace(&self) -> Result<ServerIdentity, String> {
        let identity = first_start::server_identity(&self.config).map_err(|error| error.to_string())?;
        for listener in &self.listeners {
            listener.replace_identity(&identity).map_err(|error| error.to_string())?;
        }
        self.standing.note(&identity);
        Ok(identity)
    }

    /// Says once for each content of the files why it cannot be used.
    fn complain(&mut self, content: [u8; 32], error: &str) {
        let looks = match self.refused {
            Some((known, looks)) if known == content => looks.saturating_add(1),
            _ => 1,
        };
        self.refused = Some((content, looks));
        if looks >= LOOKS_UNTIL_COMPLAINT {
            self.standing.is_stale.store(true, Ordering::Relaxed);
        }
        if looks == LOOKS_UNTIL_COMPLAINT {
            tracing::error!(error, "the new server certificate cannot be used; the old one stays");
        }
    }
}

/// A digest of what both files hold; `None` if one cannot be read.
fn content(certificate: &Path, key: &Path) -> Option<[u8; 32]> {
    let mut digest = Sha256::new();
    for file in [certificate, key] {
        let bytes = Zeroizing::new(std::fs::read(file).ok()?);
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(&bytes[..]);
    }
    Some(digest.finalize().into())
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Flags, Sources, load};
    use crate::net::pki::{self, ServerNames};
    use crate::net::tls::TlsSettings;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// A certificate and its key in `directory`, made anew.
    fn make(directory: &Path) {
        pki::open_or_create(directory, &ServerNames::new(&[]), clock::system_time()).unwrap();
    }

    fn watch(certificate: &Path, key: &Path) -> (CertificateWatch, Arc<ServerTls>) {
        let text = |path: &Path| Some(path.display().to_string());
        let flags = Flags { tls_cert: text(certificate), tls_key: text(key), ..Flags::default() };
        let config = load(&Sources { flags, ..Sources::default() }).unwrap();
        let identity = first_start::server_identity(&config).unwrap();
        let tls = Arc::new(ServerTls::new(TlsSettings::default(), &identity).unwrap());
        let standing = Arc::new(CertificateStanding::new(&identity));
        (CertificateWatch::new(&config, vec![Arc::clone(&tls)], standing), tls)
    }

    #[test]
    fn a_link_that_points_elsewhere_is_noticed_and_what_cannot_be_used_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        make(&path("old"));
        make(&path("new"));
        // As Kubernetes mounts secrets: the files are links into a directory that is replaced as a whole.
        symlink(path("old"), path("data")).unwrap();
        let (mut watch, _tls) = watch(&path("data/server.pem"), &path("data/server.key"));
        let used = watch.used;
        watch.look();
        assert_eq!(watch.used, used);
        symlink(path("new"), path("next")).unwrap();
        fs::rename(path("next"), path("data")).unwrap();
        watch.look();
        assert_ne!(watch.used, used, "the new one is in use");
        let used = watch.used;
        // A key of another certificate.
        fs::copy(path("old/server.key"), path("new/server.key")).unwrap();
        for looks in 1..=3 {
            watch.look();
            assert_eq!(watch.used, used);
            assert_eq!(watch.standing.is_stale.load(Ordering::Relaxed), looks >= LOOKS_UNTIL_COMPLAINT);
        }
        fs::remove_file(path("new/server.pem")).unwrap();
        watch.look();
        assert_eq!(watch.used, used);
        fs::copy(path("old/server.pem"), path("new/server.pem")).unwrap();
        watch.look();
        assert_ne!(watch.used, used);
        assert!(!watch.standing.is_stale.load(Ordering::Relaxed));
    }
}
