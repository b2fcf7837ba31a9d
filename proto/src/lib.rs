//! Wire definitions, generated: the public API with its published paths, names and numbers
//! ([`yandex`], [`google`]), and the project's own packages ([`rookery`]).
//!
//! Modules follow the proto packages: `yandex.cloud.iot.devices.v1.Device` is
//! [`yandex::cloud::iot::devices::v1::Device`]. The crate knows nothing of the server.

mod redact;

#[allow(missing_docs, clippy::all, clippy::wildcard_imports, clippy::too_many_lines, clippy::large_futures)]
mod packages {
    include!(concat!(env!("OUT_DIR"), "/packages.rs"));
}

pub use packages::{google, rookery, yandex};

/// The encoded `google.protobuf.FileDescriptorSet` of every file of this crate and of all their
/// imports, custom options included: for server reflection, validation and transcoding.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
