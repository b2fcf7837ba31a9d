//! The topic rules of the domain, without the catalog and what it needs.

#[path = "../../../src/domain/address.rs"]
pub mod address;
#[path = "../../../src/domain/alias.rs"]
pub mod alias;
#[path = "../../../src/domain/id.rs"]
pub mod id;
#[path = "../../../src/domain/index/mod.rs"]
pub mod index;
#[path = "../../../src/domain/interest.rs"]
pub mod interest;
#[path = "../../../src/domain/kind.rs"]
pub mod kind;
#[path = "../../../src/domain/narrow.rs"]
mod narrow;
#[path = "../../../src/domain/permission.rs"]
pub mod permission;
#[path = "../../../src/domain/principal.rs"]
pub mod principal;
#[path = "../../../src/domain/resolve.rs"]
pub mod resolve;
