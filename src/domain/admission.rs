//! Whether an identity that was proven may have a session now (`spec/auth.md`, decision procedure).

use super::catalog::Catalog;
use super::credential::CredentialReference;
use super::principal::Principal;

/// Why a proven identity must not have a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// The credential was removed, alone or with its entity.
    #[error("credential was removed")]
    CredentialRemoved,
    /// The registry is disabled (U-D3).
    #[error("registry is disabled")]
    RegistryDisabled,
}

/// Whether `principal`, proven by `credential`, may have a session: it still exists, has the credential, and is not
/// disabled. That it is disabled is told only to who has a credential.
///
/// # Errors
/// [`NotAdmitted`] with the reason.
pub fn admitted(
    catalog: &Catalog,
    principal: &Principal,
    credential: &CredentialReference,
) -> Result<(), NotAdmitted> {
    if !has_credential(catalog, principal, credential) {
        return Err(NotAdmitted::CredentialRemoved);
    }
    catalog.admits(principal).map_err(|_| NotAdmitted::RegistryDisabled)
}

fn has_credential(catalog: &Catalog, principal: &Principal, credential: &CredentialReference) -> bool {
    match credential {
        CredentialReference::Certificate(digest) => {
            catalog.by_certificate(digest).is_some_and(|owner| owner.principal == *principal)
        }
        CredentialReference::Password(id) => catalog.login(principal.id()).is_some_and(|login| {
            login.principal == *principal && login.passwords.iter().any(|password| password.id == *id)
        }),
    }
}
