//! The catalog: everything that the server remembers about its resources, as one deterministic machine.
//!
//! [`Catalog::apply`] takes one [`Command`] at a time and checks every rule against the state at that moment; time,
//! identifiers and hashes of secrets come in the command. So any two nodes that apply the same commands in the same
//! order hold the same state. The machine reads no clock, draws no random number and iterates over no map whose
//! order may differ between nodes. Cloning it is cheap (the tables are persistent maps), which gives snapshots.

pub mod command;
pub mod entity;
pub mod event;
pub mod operation;
pub mod page;
pub mod record;
pub mod rejection;

mod aliases;
mod apply;
mod brokers;
mod credentials;
mod devices;
mod history;
mod messages;
mod monitoring;
mod query;
mod registries;
mod session_query;
mod session_table;
mod sessions;
mod state;
mod tokens;

#[cfg(test)]
mod tests;

pub use aliases::AliasMatch;
pub use command::{
    AttributesPatch, Change, ChangeSubscriptions, CloseSession, Command, CreateBroker, CreateDevice,
    CreateRegistry, LastSeen, Mutation, NewCertificate, NewCredentials, NewExport, NewPassword, NewToken,
    OpenSession, Origin, SetPermanent, TokenCondition, UpdateBroker, UpdateDevice, UpdateRegistry,
};
pub use entity::{
    Broker, Device, Export, Owner, Registry, RegistryStatus, Resource, StoredMessage, TopicAliases,
};
pub use event::{Event, Outcome};
pub use messages::Selection;
pub use operation::{IdempotencyKey, IdempotencyRecord, Operation, OperationMetadata, OperationResponse};
pub use page::{Page, PageError, PageRequest, PageToken};
pub use query::{CertificateMatch, Login, Refused};
pub use record::{ImportError, Record};
pub use rejection::{Limit, Rejection};
pub use session_query::SessionFilter;
pub use state::Catalog;
