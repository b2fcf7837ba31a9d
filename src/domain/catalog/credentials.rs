//! Changes of certificates and passwords, alike for registries, devices and brokers.

use std::collections::HashSet;
use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{NewCertificate, NewCredentials, NewPassword};
use super::entity::{Owner, Resource};
use super::event::Event;
use super::operation::{OperationMetadata, OperationResponse};
use super::registries::{Changed, check_count};
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, Credentials, not_found};
use crate::domain::credential::{Certificate, CredentialReference, Fingerprint, Password};
use crate::domain::id::PasswordId;
use crate::domain::timestamp::Timestamp;

impl Catalog {
    pub(super) fn add_certificate(&mut self, at: Timestamp, owner: Owner, input: NewCertificate) -> Changed {
        self.check_exists(&owner)?;
        let held = self.credentials.get(&owner);
        let certificates = held.map(|held| held.certificates.as_slice()).unwrap_or_default();
        check_count(
            certificates.len(),
            Some(self.limits.certificates_per_entity_max),
            Limit::CertificatesPerEntity,
        )?;
        self.check_certificate_is_free(&input)?;
        // Two certificates of one SHA-1 could not be told apart when one is to be deleted.
        if certificates.iter().any(|held| held.fingerprint == input.fingerprint) {
            return Err(Rejection::CertificateTaken { fingerprint: input.fingerprint });
        }
        let certificate = Arc::new(new_certificate(at, input));
        self.insert_certificate(&owner, Arc::clone(&certificate));
        let fingerprint = certificate.fingerprint.clone();
        let metadata = OperationMetadata::AddCertificate { owner: owner.clone(), fingerprint };
        Ok((metadata, OperationResponse::Certificate { owner, certificate }))
    }

    pub(super) fn delete_certificate(
        &mut self,
        owner: Owner,
        fingerprint: Fingerprint,
        events: &mut Vec<Event>,
    ) -> Changed {
        self.check_exists(&owner)?;
        let missing = || not_found(Resource::Certificate, fingerprint.as_str());
        let mut held = self.credentials.get(&owner).cloned().ok_or_else(missing)?;
        let found = held.certificates.iter().position(|held| held.fingerprint == fingerprint);
        let removed = held.certificates.remove(found.ok_or_else(missing)?);
        self.index.certificates.remove(&removed.digest);
        self.put_credentials(&owner, held);
        let credential = CredentialReference::Certificate(removed.digest);
        self.end_sessions_of_credential(&owner, &credential, events);
        events.push(Event::CredentialRemoved { owner: owner.clone(), credential });
        Ok((OperationMetadata::DeleteCertificate { owner, fingerprint }, OperationResponse::Empty))
    }

    pub(super) fn add_password(&mut self, at: Timestamp, owner: Owner, input: NewPassword) -> Changed {
        self.check_exists(&owner)?;
        let held = self.credentials.get(&owner);
        let passwords = held.map(|held| held.passwords.as_slice()).unwrap_or_default();
        check_count(passwords.len(), Some(self.limits.passwords_per_entity_max), Limit::PasswordsPerEntity)?;
        if passwords.iter().any(|held| held.id == input.id) {
            let id = SmolStr::new(input.id.as_str());
            return Err(Rejection::IdTaken { resource: Resource::Password, id });
        }
        let id = input.id.clone();
        self.insert_password(&owner, Arc::new(new_password(at, input)));
        let metadata = OperationMetadata::AddPassword { owner: owner.clone(), id: id.clone() };
        Ok((metadata, OperationResponse::Password { owner, id, created_at: at }))
    }

    pub(super) fn delete_password(
        &mut self,
        owner: Owner,
        id: PasswordId,
        events: &mut Vec<Event>,
    ) -> Changed {
        self.check_exists(&owner)?;
        let missing = || not_found(Resource::Password, id.as_str());
        let mut held = self.credentials.get(&owner).cloned().ok_or_else(missing)?;
        let found = held.passwords.iter().position(|held| held.id == id);
        held.passwords.remove(found.ok_or_else(missing)?);
        self.put_credentials(&owner, held);
        let credential = CredentialReference::Password(id.clone());
        self.end_sessions_of_credential(&owner, &credential, events);
        events.push(Event::CredentialRemoved { owner: owner.clone(), credential });
        Ok((OperationMetadata::DeletePassword { owner, id }, OperationResponse::Empty))
    }

    /// Checks the credentials that come with a new entity.
    pub(super) fn check_new_credentials(&self, new: &NewCredentials) -> Result<(), Rejection> {
        let limits = &self.limits;
        let too_many = |limit, max| Err(Rejection::TooMany { limit, max });
        if new.certificates.len() as u64 > limits.certificates_per_entity_max {
            return too_many(Limit::CertificatesPerEntity, limits.certificates_per_entity_max);
        }
        if new.password.is_some() && limits.passwords_per_entity_max == 0 {
            return too_many(Limit::PasswordsPerEntity, 0);
        }
        let mut seen = HashSet::new();
        for certificate in &new.certificates {
            self.check_certificate_is_free(certificate)?;
            if !seen.insert(&certificate.fingerprint) {
                let fingerprint = certificate.fingerprint.clone();
                return Err(Rejection::CertificateTaken { fingerprint });
            }
        }
        Ok(())
    }

    /// Gives a new entity its credentials, which were checked by [`Self::check_new_credentials`].
    pub(super) fn insert_new_credentials(&mut self, owner: &Owner, at: Timestamp, new: NewCredentials) {
        for certificate in new.certificates {
            self.insert_certificate(owner, Arc::new(new_certificate(at, certificate)));
        }
        if let Some(password) = new.password {
            self.insert_password(owner, Arc::new(new_password(at, password)));
        }
    }

    pub(super) fn insert_certificate(&mut self, owner: &Owner, certificate: Arc<Certificate>) {
        self.index.certificates.insert(certificate.digest, owner.clone());
        let certificates = &mut self.credentials.entry(owner.clone()).or_default().certificates;
        // Most have one, and there are as many as there are devices.
        certificates.reserve_exact(1);
        certificates.push(certificate);
    }

    pub(super) fn insert_password(&mut self, owner: &Owner, password: Arc<Password>) {
        let passwords = &mut self.credentials.entry(owner.clone()).or_default().passwords;
        passwords.reserve_exact(1);
        passwords.push(password);
    }

    /// Removes everything that an entity which is going away could log in with.
    pub(super) fn remove_credentials(&mut self, owner: &Owner) {
        let Some(held) = self.credentials.remove(owner) else { return };
        for certificate in &held.certificates {
            self.index.certificates.remove(&certificate.digest);
        }
    }

    fn put_credentials(&mut self, owner: &Owner, held: Credentials) {
        if held.certificates.is_empty() && held.passwords.is_empty() {
            self.credentials.remove(owner);
        } else {
            self.credentials.insert(owner.clone(), held);
        }
    }

    /// A certificate selects one identity, so it belongs to one entity of the whole server (U-A3).
    fn check_certificate_is_free(&self, certificate: &NewCertificate) -> Result<(), Rejection> {
        if self.index.certificates.contains_key(&certificate.digest) {
            let fingerprint = certificate.fingerprint.clone();
            return Err(Rejection::CertificateTaken { fingerprint });
        }
        Ok(())
    }
}

fn new_certificate(at: Timestamp, input: NewCertificate) -> Certificate {
    Certificate {
        digest: input.digest,
        fingerprint: input.fingerprint,
        certificate_data: input.certificate_data,
        created_at: at,
    }
}

fn new_password(at: Timestamp, input: NewPassword) -> Password {
    Password { id: input.id, hash: input.hash, created_at: at }
}
