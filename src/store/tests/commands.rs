//! The form of commands in the log.

use bytes::Bytes;
use proptest::prelude::{any, proptest};
use prost::Message as _;
use rookery_proto::rookery::storage::v1 as pb;

use super::sample::{self, decode_command, encode_command};
use crate::domain::catalog::{Catalog, Command};
use crate::store::wire::{self, WireError};

#[test]
fn every_command_reads_back_and_has_one_encoding() {
    for command in sample::history().into_iter().chain(sample::sessions(5)) {
        let bytes = encode_command(&command);
        assert_eq!(decode_command(bytes.clone()).as_ref(), Ok(&command));
        assert_eq!(encode_command(&command), bytes);
    }
}

#[test]
fn the_history_is_allowed_from_end_to_end() {
    let mut catalog = Catalog::new();
    for (command, index) in sample::history().into_iter().zip(1..) {
        let text = format!("{command:?}");
        assert!(catalog.apply(index, command, &mut Vec::new()).is_ok(), "{text}");
    }
}

#[test]
fn what_a_newer_version_wrote_is_refused_and_not_skipped() {
    let newer = pb::Command { version: 2, body: Some(pb::command::Body::SetLimits(pb::Limits::default())) };
    let refused = WireError::UnknownVersion { found: 2, newest_known: 1 };
    assert_eq!(decode_command(newer.encode_to_vec().into()), Err(refused));
    let limits = Command::SetLimits(crate::domain::quota::CatalogLimits::default());
    for format in 1..=2 {
        let read = wire::decode_command(wire::encode_command(&limits, format), 2);
        assert_eq!(read, Ok(limits.clone()), "a release that knows a format reads it and the older ones");
    }
    // A body of a kind that this version does not know reads as none.
    let unknown_body = Bytes::from_static(&[0x08, 0x01, 0xfa, 0x01, 0x00]);
    assert_eq!(decode_command(unknown_body), Err(WireError::Missing { field: "command body" }));
    let revoke = Command::RevokeToken { id: crate::domain::id::TokenId::new("t") };
    let mut cut = encode_command(&revoke).to_vec();
    cut.pop();
    assert!(matches!(decode_command(cut.into()), Err(WireError::Encoding(_))));
}

#[test]
fn whatever_qos_a_message_has_its_command_reads_back() {
    // A command is in the log before it is read back, and one that cannot be read back stops the node at every start.
    // Only the callers kept a QoS of 2 out.
    let message = crate::domain::catalog::SetPermanent {
        space: crate::domain::principal::SpaceId::Registry(crate::domain::id::RegistryId::new("r")),
        topic: "$registries/r/state".into(),
        payload: Bytes::from_static(b"x"),
        qos: crate::mqtt::qos::QoS::ExactlyOnce,
        at: crate::domain::timestamp::Timestamp::default(),
        origin: crate::domain::catalog::Origin::default(),
    };
    assert!(decode_command(encode_command(&Command::SetPermanent(message))).is_ok());
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode_command(bytes.into());
    }

    #[test]
    fn no_damage_makes_decoding_panic(which in any::<proptest::sample::Index>(), at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let history = [sample::history(), sample::sessions(5)].concat();
        let mut bytes = encode_command(&history[which.index(history.len())]).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decode_command(bytes.into());
    }
}
