//! Snapshots: length-delimited items, a header first and an end with their count last.

use std::io::{BufRead, Read, Write};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rookery_proto::rookery::storage::v1 as pb;

use super::operation::{operation_from_wire, operation_to_wire};
use super::resource::{
    broker_from_wire, broker_to_wire, certificate_from_wire, certificate_to_wire, device_from_wire,
    device_to_wire, export_from_wire, export_to_wire, idempotency_from_wire, idempotency_to_wire,
    limits_from_wire, limits_to_wire, message_from_wire, message_to_wire, monitoring_from_wire,
    monitoring_to_wire, owner_from_wire, owner_to_wire, password_from_wire, password_to_wire,
    registry_from_wire, registry_to_wire, space_from_wire, space_to_wire, token_from_wire, token_to_wire,
};
use super::session::{session_from_wire, session_to_wire};
use super::{WireError, is_known, required};
use crate::domain::catalog::{Catalog, ImportError, Record};
use crate::domain::id::DeviceId;
use pb::snapshot_item::Item;

/// Longest item. No item comes near: the largest are a stored message and an operation with a certificate in it.
const ITEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why bytes are not a snapshot that can be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The source failed or ended too early.
    #[error("cannot read the snapshot: {0}")]
    Read(#[from] std::io::Error),
    /// Written by a newer version of the server.
    #[error("the snapshot has version {found} (the newest known is {newest_known})")]
    UnknownVersion {
        /// The version found.
        found: u32,
        /// The newest that can be read.
        newest_known: u32,
    },
    /// An item cannot be understood.
    #[error("item {position} of the snapshot: {source}")]
    Item {
        /// Its position; the header has 0.
        position: u64,
        /// What is wrong with it.
        source: WireError,
    },
    /// An item is longer than any can be.
    #[error("item {position} of the snapshot is longer than {ITEM_BYTES_MAX} bytes (got {bytes})")]
    ItemTooLong {
        /// Its position.
        position: u64,
        /// Its length.
        bytes: u64,
    },
    /// The end does not confirm the number of items.
    #[error("the snapshot ends after {found} items (expected {expected})")]
    Incomplete {
        /// How many there were.
        found: u64,
        /// How many the end announces.
        expected: u64,
    },
    /// The items contradict each other.
    #[error("the snapshot is not a valid state: {0}")]
    Contradiction(#[from] ImportError),
}

/// Writes the whole state, in the format that the cluster writes.
///
/// # Errors
/// Those of the sink.
pub fn write_snapshot(catalog: &Catalog, format: u32, sink: &mut dyn Write) -> std::io::Result<()> {
    let mut sink = std::io::BufWriter::with_capacity(64 * 1024, sink);
    let mut buffer = Vec::new();
    let header = pb::SnapshotHeader { version: format, applied_index: catalog.applied_index() };
    write_item(Item::Header(header), &mut buffer, &mut sink)?;
    let mut items = 0;
    for record in catalog.records() {
        write_item(record_to_wire(&record), &mut buffer, &mut sink)?;
        items += 1;
    }
    write_item(Item::End(pb::SnapshotEnd { items }), &mut buffer, &mut sink)?;
    sink.flush()
}

fn write_item(item: Item, buffer: &mut Vec<u8>, sink: &mut dyn Write) -> std::io::Result<()> {
    encode_item(item, buffer);
    sink.write_all(buffer)
}

fn encode_item(item: Item, buffer: &mut Vec<u8>) {
    buffer.clear();
    let item = pb::SnapshotItem { item: Some(item) };
    item.encode_length_delimited(buffer).expect("a vector grows as needed");
}

/// Encodes one record after the other and hands the bytes of each to `sink`: what the hash of a state is made of.
pub(crate) fn encode_records(catalog: &Catalog, mut sink: impl FnMut(&[u8])) {
    let mut buffer = Vec::new();
    for record in catalog.records() {
        encode_item(record_to_wire(&record), &mut buffer);
        sink(&buffer);
    }
}

/// Reads a state that [`write_snapshot`] wrote. Takes memory for the state and one item only, whatever the bytes
/// claim. `newest` is the newest format that this release knows.
///
/// # Errors
/// [`SnapshotError`] unless the bytes are exactly one whole snapshot of a known version.
pub fn read_snapshot(source: &mut dyn Read, newest: u32) -> Result<Catalog, SnapshotError> {
    let mut items = Items { source: std::io::BufReader::with_capacity(64 * 1024, source), position: 0 };
    let applied_index = match items.next_item()? {
        Item::Header(header) if is_known(header.version, newest) => header.applied_index,
        Item::Header(header) => {
            let (found, newest_known) = (header.version, newest);
            return Err(SnapshotError::UnknownVersion { found, newest_known });
        }
        _ => return Err(items.error(WireError::Missing { field: "header" })),
    };
    let mut failure = None;
    let records = std::iter::from_fn(|| match items.next_record() {
        Ok(record) => record,
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let catalog = Catalog::from_records(applied_index, records);
    match failure {
        Some(failure) => Err(failure),
        None => Ok(catalog?),
    }
}

/// The items of a snapshot, one after the other.
struct Items<'a> {
    source: std::io::BufReader<&'a mut dyn Read>,
    /// How many were read.
    position: u64,
}

impl Items<'_> {
    /// The next record, or `None` after a valid end.
    fn next_record(&mut self) -> Result<Option<Record>, SnapshotError> {
        match self.next_item()? {
            Item::End(end) => {
                let found = self.position - 2;
                if end.items != found {
                    return Err(SnapshotError::Incomplete { found, expected: end.items });
                }
                if !self.source.fill_buf()?.is_empty() {
                    return Err(self.error(WireError::Malformed { field: "end" }));
                }
                Ok(None)
            }
            item => record_from_wire(item).map(Some).map_err(|source| self.error(source)),
        }
    }

    fn next_item(&mut self) -> Result<Item, SnapshotError> {
        let bytes = self.read_length()?;
        if bytes > ITEM_BYTES_MAX {
            return Err(SnapshotError::ItemTooLong { position: self.position, bytes });
        }
        let mut buffer = Vec::new();
        // Grows with what is really there, not with what the length claims.
        let read = (&mut self.source).take(bytes).read_to_end(&mut buffer)?;
        if (read as u64) < bytes {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        let item = pb::SnapshotItem::decode(Bytes::from(buffer)).map_err(|error| self.error(error.into()))?;
        let item = required(item.item, "item").map_err(|error| self.error(error))?;
        self.position += 1;
        Ok(item)
    }

    /// A protobuf variable-length integer.
    fn read_length(&mut self) -> Result<u64, SnapshotError> {
        let mut length = 0_u64;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            self.source.read_exact(&mut byte)?;
            length |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(self.error(WireError::Malformed { field: "length" }))
    }

    fn error(&self, source: WireError) -> SnapshotError {
        SnapshotError::Item { position: self.position, source }
    }
}

fn record_to_wire(record: &Record) -> Item {
    match record {
        Record::Limits(limits) => Item::Limits(limits_to_wire(limits)),
        Record::Registry(registry) => Item::Registry(registry_to_wire(registry)),
        Record::Device(device) => Item::Device(device_to_wire(device)),
        Record::Broker(broker) => Item::Broker(broker_to_wire(broker)),
        Record::Certificate { owner, certificate } => Item::Certificate(pb::OwnedCertificate {
            owner: Some(owner_to_wire(owner)),
            certificate: Some(certificate_to_wire(certificate)),
        }),
        Record::Password { owner, password } => Item::Password(pb::OwnedPassword {
            owner: Some(owner_to_wire(owner)),
            password: Some(password_to_wire(password)),
        }),
        Record::Export(export) => Item::Export(export_to_wire(export)),
        Record::Operation(operation) => Item::Operation(operation_to_wire(operation)),
        Record::Idempotency(record) => Item::Idempotency(idempotency_to_wire(record)),
        Record::Token(token) => Item::Token(token_to_wire(token)),
        Record::Message { space, message } => Item::Message(pb::SpaceMessage {
            space: Some(space_to_wire(space)),
            message: Some(message_to_wire(message)),
        }),
        Record::Monitoring { device, monitoring } => Item::Monitoring(pb::DeviceMonitoring {
            device_id: device.to_string(),
            monitoring: Some(monitoring_to_wire(monitoring)),
        }),
        Record::Epoch { node, epoch } => Item::Epoch(pb::NodeEpoch { node: *node, epoch: *epoch }),
        Record::Session(session) => Item::Session(session_to_wire(session)),
    }
}

fn record_from_wire(item: Item) -> Result<Record, WireError> {
    Ok(match item {
        Item::Header(_) | Item::End(_) => return Err(WireError::Malformed { field: "item" }),
        Item::Limits(limits) => Record::Limits(limits_from_wire(limits)),
        Item::Registry(registry) => Record::Registry(Arc::new(registry_from_wire(registry)?)),
        Item::Device(device) => Record::Device(Arc::new(device_from_wire(device))),
        Item::Broker(broker) => Record::Broker(Arc::new(broker_from_wire(broker)?)),
        Item::Certificate(owned) => Record::Certificate {
            owner: owner_from_wire(owned.owner)?,
            certificate: Arc::new(certificate_from_wire(required(owned.certificate, "certificate")?)?),
        },
        Item::Password(owned) => Record::Password {
            owner: owner_from_wire(owned.owner)?,
            password: Arc::new(password_from_wire(required(owned.password, "password")?)),
        },
        Item::Export(export) => Record::Export(Arc::new(export_from_wire(export))),
        Item::Operation(operation) => Record::Operation(Arc::new(operation_from_wire(operation)?)),
        Item::Idempotency(record) => Record::Idempotency(Arc::new(idempotency_from_wire(record)?)),
        Item::Token(token) => Record::Token(Arc::new(token_from_wire(token)?)),
        Item::Message(stored) => Record::Message {
            space: space_from_wire(stored.space)?,
            message: Arc::new(message_from_wire(required(stored.message, "message")?)?),
        },
        Item::Monitoring(seen) => Record::Monitoring {
            device: DeviceId::new(seen.device_id),
            monitoring: Arc::new(monitoring_from_wire(seen.monitoring)?),
        },
        Item::Epoch(epoch) => Record::Epoch { node: epoch.node, epoch: epoch.epoch },
        Item::Session(session) => Record::Session(Arc::new(session_from_wire(session)?)),
    })
}
