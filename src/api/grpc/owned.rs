//! What registries, devices and brokers have in common: credentials and operations.

use rookery_proto::yandex::cloud::operation as pb;
use smol_str::SmolStr;
use tonic::{Response, Status};

use super::call::{Backend, Call};
use super::operation_filter::OperationFilter;
use crate::api::convert;
use crate::api::credential::{hash_password, read_certificate, read_certificates};
use crate::api::error::ApiError;
use crate::api::validate::Violation;
use crate::domain::catalog::{Catalog, Change, NewCredentials, Owner, PageRequest, Rejection};
use crate::domain::credential::{Certificate, Fingerprint, Password};
use crate::domain::id::PasswordId;
use crate::store::fresh_id;

/// Most entries of one page of operations.
const OPERATIONS_PAGE_SIZE_MAX: usize = 1000;

impl Backend {
    /// Credentials of a create request: checked, and the password hashed. An empty password is none.
    ///
    /// # Errors
    /// A violation of `certificates` or `password`.
    pub async fn new_credentials<'a>(
        &self,
        certificates: impl ExactSizeIterator<Item = &'a str>,
        password: String,
    ) -> Result<NewCredentials, ApiError> {
        let certificates = read_certificates(certificates)?;
        let password = if password.is_empty() {
            None
        } else {
            Some(hash_password(&self.passwords, PasswordId::new(fresh_id()), password).await?)
        };
        Ok(NewCredentials { certificates, password })
    }

    /// All certificates of an entity in the order in which they were added, converted by `show`.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such entity.
    pub fn certificates<T>(
        &self,
        owner: &Owner,
        show: impl Fn(&str, &Certificate) -> T,
    ) -> Result<Vec<T>, ApiError> {
        self.catalog.read(|catalog| {
            let certificates = catalog.certificates_of(owner)?;
            Ok(certificates.iter().map(|certificate| show(owner.id(), certificate)).collect())
        })
    }

    /// Adds a certificate to an entity.
    ///
    /// # Errors
    /// A violation of `certificate_data` (U-P10), or the rejection of the catalog.
    pub async fn add_certificate(
        &self,
        call: Call,
        owner: Owner,
        certificate_data: &str,
    ) -> Result<Response<pb::Operation>, Status> {
        let certificate = read_certificate("certificate_data", certificate_data).map_err(ApiError::from)?;
        self.mutate(call, Change::AddCertificate { owner, certificate }).await
    }

    /// Removes a certificate from an entity.
    ///
    /// # Errors
    /// A violation of `fingerprint`, or the rejection of the catalog.
    pub async fn delete_certificate(
        &self,
        call: Call,
        owner: Owner,
        fingerprint: &str,
    ) -> Result<Response<pb::Operation>, Status> {
        let fingerprint = Fingerprint::parse(fingerprint)
            .map_err(|error| ApiError::from(Violation::new("fingerprint", error)))?;
        self.mutate(call, Change::DeleteCertificate { owner, fingerprint }).await
    }

    /// All passwords of an entity in the order in which they were added, converted by `show`.
    ///
    /// # Errors
    /// NOT_FOUND if there is no such entity.
    pub fn passwords<T>(
        &self,
        owner: &Owner,
        show: impl Fn(&str, &Password) -> T,
    ) -> Result<Vec<T>, ApiError> {
        self.catalog.read(|catalog| {
            let passwords = catalog.passwords_of(owner)?;
            Ok(passwords.iter().map(|password| show(owner.id(), password)).collect())
        })
    }

    /// Adds a password to an entity.
    ///
    /// # Errors
    /// A violation of `password`, or the rejection of the catalog.
    pub async fn add_password(
        &self,
        call: Call,
        owner: Owner,
        password: String,
    ) -> Result<Response<pb::Operation>, Status> {
        let password = hash_password(&self.passwords, PasswordId::new(fresh_id()), password).await?;
        self.mutate(call, Change::AddPassword { owner, password }).await
    }

    /// Removes a password from an entity.
    ///
    /// # Errors
    /// The rejection of the catalog.
    pub async fn delete_password(
        &self,
        call: Call,
        owner: Owner,
        password_id: &str,
    ) -> Result<Response<pb::Operation>, Status> {
        self.mutate(call, Change::DeletePassword { owner, id: PasswordId::new(password_id) }).await
    }

    /// One page of the operations of an entity, and the next page's token. A deleted entity still has operations.
    ///
    /// # Errors
    /// A violation of a paging field or of `filter`; NOT_FOUND if the entity neither exists nor has operations.
    pub fn operations(
        &self,
        owner: &Owner,
        page_size: i64,
        page_token: &str,
        filter: &str,
    ) -> Result<(Vec<pb::Operation>, String), ApiError> {
        let page = PageRequest::parse(page_size, OPERATIONS_PAGE_SIZE_MAX, page_token)?;
        let filter = OperationFilter::parse(filter)?;
        // Up to 64 MB of certificates may be in a page: converted outside of the lock, so that no change waits for it.
        let (name, page) = self
            .catalog
            .read(|catalog| (name_of(catalog, owner).map(SmolStr::new), catalog.operations_of(owner, &page)));
        if name.is_none() && page.items.is_empty() {
            return Err(Rejection::NotFound { resource: owner.resource(), id: owner.id().into() }.into());
        }
        if !filter.admits(name.as_deref().unwrap_or_default()) {
            return Ok((Vec::new(), String::new()));
        }
        let operations = page.items.iter().map(|entry| convert::operation::operation(entry)).collect();
        Ok((operations, page.next_token_text()))
    }
}

/// The name of an entity; `None` if it does not exist.
fn name_of<'a>(catalog: &'a Catalog, owner: &Owner) -> Option<&'a str> {
    Some(match owner {
        Owner::Registry(id) => catalog.registry(id.as_str())?.name.as_str(),
        Owner::Device(id) => catalog.device(id.as_str())?.name.as_str(),
        Owner::Broker(id) => catalog.broker(id.as_str())?.name.as_str(),
    })
}
