//! The one way in which the catalog changes.

use super::command::{Change, Command, Mutation};
use super::entity::Resource;
use super::event::{Event, Outcome};
use super::registries::Changed;
use super::rejection::Rejection;
use super::state::Catalog;
use crate::domain::timestamp::Timestamp;

impl Catalog {
    /// Applies one command. `index` is its position in the log; commands come in order of their index, and several
    /// may share one. What others must act upon is appended to `events`.
    ///
    /// # Errors
    /// [`Rejection`] if a rule forbids the command; then nothing changed and `events` is as before.
    pub fn apply(
        &mut self,
        index: u64,
        command: Command,
        events: &mut Vec<Event>,
    ) -> Result<Outcome, Rejection> {
        self.applied_index = index;
        match command {
            Command::Mutate(mutation) => self.mutate(mutation, events),
            Command::CreateToken(new) => self.create_token(new).map(Outcome::Token),
            Command::RevokeToken { id } => self.revoke_token(&id).map(Outcome::Token),
            Command::SetPermanent(message) => self.set_permanent(index, message, events),
            Command::LastSeen(batch) => {
                self.last_seen(batch, events);
                Ok(Outcome::Done)
            }
            Command::SetLimits(limits) => {
                self.limits = limits;
                Ok(Outcome::Done)
            }
            Command::OpenSession(input) => self.open_session(index, input, events),
            Command::CloseSession(input) => {
                self.close_session(&input, events);
                Ok(Outcome::Done)
            }
            Command::ChangeSubscriptions(input) => self.change_subscriptions(index, &input, events),
        }
    }

    fn mutate(&mut self, mutation: Mutation, events: &mut Vec<Event>) -> Result<Outcome, Rejection> {
        let Mutation { at, operation_id, subject, idempotency_key, change } = mutation;
        if let Some(key) = &idempotency_key
            && let Some(first) = self.operation_of_key(&subject, key, at)
        {
            return Ok(Outcome::Operation(first));
        }
        if self.operations.contains_key(&operation_id) {
            let id = operation_id.as_str().into();
            return Err(Rejection::IdTaken { resource: Resource::Operation, id });
        }
        let (metadata, response) = self.change(at, change, events)?;
        let operation = self.record_operation(at, operation_id, subject, idempotency_key, metadata, response);
        Ok(Outcome::Operation(operation))
    }

    /// Every arm checks all its rules before it changes anything.
    fn change(&mut self, at: Timestamp, change: Change, events: &mut Vec<Event>) -> Changed {
        match change {
            Change::CreateRegistry(input) => self.create_registry(at, input, events),
            Change::UpdateRegistry(input) => self.update_registry(input),
            Change::DeleteRegistry { id } => self.delete_registry(id, events),
            Change::DisableRegistry { id } => self.disable_registry(id, events),
            Change::EnableRegistry { id } => self.enable_registry(id),
            Change::CreateDevice(input) => self.create_device(at, input, events),
            Change::UpdateDevice(input) => self.update_device(input, events),
            Change::DeleteDevice { id } => self.delete_device(id, events),
            Change::CreateBroker(input) => self.create_broker(at, input, events),
            Change::UpdateBroker(input) => self.update_broker(input),
            Change::DeleteBroker { id } => self.delete_broker(id, events),
            Change::AddCertificate { owner, certificate } => self.add_certificate(at, owner, certificate),
            Change::DeleteCertificate { owner, fingerprint } => {
                self.delete_certificate(owner, fingerprint, events)
            }
            Change::AddPassword { owner, password } => self.add_password(at, owner, password),
            Change::DeletePassword { owner, id } => self.delete_password(owner, id, events),
            Change::AddExport(input) => self.add_export(at, input),
            Change::DeleteExport { registry_id, id } => self.delete_export(registry_id, id),
        }
    }
}
