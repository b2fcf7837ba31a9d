//! Who is it: the decision on a CONNECT (`spec/auth.md`, Precedence).
//!
//! The password outranks the certificate. What can be decided at once is (certificates, and passwords verified of late);
//! a password hash is left to the verifier's own threads.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::connection::PeerCertificate;
use crate::clock;
use crate::domain::admission::{self, NotAdmitted};
use crate::domain::credential::{CredentialReference, Fingerprint, Password};
use crate::domain::principal::Principal;
use crate::mqtt::packet::connect::ConnectReturnCode;
use crate::store::catalog::CatalogHandle;
use crate::verify::password::PasswordVerifier;
use crate::verify::pool::PoolError;
use crate::verify::throttle::Throttle;

/// What a client shows in its CONNECT and in its TLS handshake.
pub struct Attempt {
    /// The user name.
    pub username: Option<String>,
    /// The password; an empty one counts as given (U-A8).
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// The certificate whose key it has.
    pub certificate: Option<PeerCertificate>,
    /// Where it comes from.
    pub peer: SocketAddr,
}

/// How an identity was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// By the certificate with this fingerprint.
    Certificate(Fingerprint),
    /// By a password.
    Password(crate::domain::id::PasswordId),
}

/// A proven identity.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Who it is.
    pub principal: Principal,
    /// How it was proven, for the log.
    pub login: Login,
    /// The credential; its removal ends the session (U-A11).
    pub credential: CredentialReference,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The answer (U-A9).
    pub code: ConnectReturnCode,
    /// For the log.
    pub reason: &'static str,
    /// Whose log the line belongs to, if the id is known.
    pub known_entity: Option<String>,
}

impl Refusal {
    /// Of a proven identity that must not have a session.
    pub fn not_admitted(identity: &Identity, why: NotAdmitted) -> Self {
        let reason = match why {
            NotAdmitted::CredentialRemoved => "credential was removed",
            NotAdmitted::RegistryDisabled => "registry is disabled",
        };
        refusal(ConnectReturnCode::NotAuthorized, reason, Some(identity.principal.id()))
    }
}

/// The end of the decision.
pub type Decision = Result<Identity, Refusal>;

/// The decision, or its future.
pub enum Verdict {
    /// Decided.
    Now(Decision),
    /// A password is being verified, or a refusal is being delayed (U-A10).
    Later(Pin<Box<dyn Future<Output = Decision>>>),
}

/// Decides on CONNECT.
#[derive(Clone)]
pub struct Authenticator {
    catalog: CatalogHandle,
    verifier: Arc<PasswordVerifier>,
    throttle: Arc<Throttle>,
}

fn refusal(code: ConnectReturnCode, reason: &'static str, known_entity: Option<&str>) -> Refusal {
    Refusal { code, reason, known_entity: known_entity.map(Into::into) }
}

impl Authenticator {
    /// An authenticator over the catalog.
    pub fn new(catalog: CatalogHandle, verifier: Arc<PasswordVerifier>, throttle: Arc<Throttle>) -> Self {
        Self { catalog, verifier, throttle }
    }

    /// Decides, or starts to.
    pub fn decide(&self, attempt: Attempt) -> Verdict {
        match attempt.password {
            Some(password) => self.by_password(attempt.username.unwrap_or_default(), password, attempt.peer),
            None => Verdict::Now(self.by_certificate(attempt.certificate.as_ref())),
        }
    }

    /// No password: the certificate decides alone, and the user name is ignored (U-A8).
    fn by_certificate(&self, certificate: Option<&PeerCertificate>) -> Decision {
        let code = ConnectReturnCode::NotAuthorized;
        let Some(certificate) = certificate else {
            return Err(refusal(code, "neither password nor certificate", None));
        };
        let Some(owner) = self.catalog.read(|catalog| catalog.by_certificate(&certificate.digest)) else {
            return Err(refusal(code, "certificate is not registered", None));
        };
        self.admitted(Identity {
            principal: owner.principal,
            login: Login::Certificate(owner.fingerprint),
            credential: CredentialReference::Certificate(certificate.digest),
        })
    }

    fn by_password(&self, login: String, password: Zeroizing<Vec<u8>>, peer: SocketAddr) -> Verdict {
        let (principal, passwords) = self.candidates(&login);
        let hashes: Vec<Arc<str>> = passwords.iter().map(|password| Arc::clone(&password.hash)).collect();
        let now = clock::monotonic();
        if let Some(index) = self.verifier.check_cached(&login, &hashes, &password, now) {
            return Verdict::Now(self.right_password(principal, &passwords, index));
        }
        let this = self.clone();
        Verdict::Later(Box::pin(async move {
            let standing = this.throttle.standing(peer.ip(), now);
            match this.verifier.verify(login.clone(), hashes, password, standing, now).await {
                Ok(Some(index)) => {
                    this.throttle.succeeded(&login, peer.ip());
                    this.right_password(principal, &passwords, index)
                }
                Ok(None) => {
                    let delay = this.throttle.failed(&login, peer.ip(), clock::monotonic());
                    tokio::time::sleep(delay).await;
                    let known = principal.is_some().then_some(login.as_str());
                    Err(refusal(ConnectReturnCode::BadUserNameOrPassword, "wrong login or password", known))
                }
                Err(PoolError::Busy { .. } | PoolError::Closing) => Err(refusal(
                    ConnectReturnCode::ServerUnavailable,
                    "too many logins are being checked",
                    None,
                )),
            }
        }))
    }

    fn candidates(&self, login: &str) -> (Option<Principal>, Vec<Arc<Password>>) {
        self.catalog.read(|catalog| match catalog.login(login) {
            Some(found) => (Some(found.principal), found.passwords.to_vec()),
            None => (None, Vec::new()),
        })
    }

    fn right_password(
        &self,
        principal: Option<Principal>,
        passwords: &[Arc<Password>],
        index: usize,
    ) -> Decision {
        let (Some(principal), Some(password)) = (principal, passwords.get(index)) else {
            return Err(refusal(ConnectReturnCode::BadUserNameOrPassword, "wrong login or password", None));
        };
        self.admitted(Identity {
            principal,
            login: Login::Password(password.id.clone()),
            credential: CredentialReference::Password(password.id.clone()),
        })
    }

    /// A disabled registry refuses itself and its devices (U-D3), after the credential was right.
    fn admitted(&self, identity: Identity) -> Decision {
        let checked = self
            .catalog
            .read(|catalog| admission::admitted(catalog, &identity.principal, &identity.credential));
        match checked {
            Ok(()) => Ok(identity),
            Err(why) => Err(Refusal::not_admitted(&identity, why)),
        }
    }
}
