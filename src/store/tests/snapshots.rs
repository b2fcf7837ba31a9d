//! The form of snapshots.

use std::sync::Arc;

use proptest::prelude::{any, proptest};
use prost::Message as _;
use rookery_proto::rookery::storage::v1 as pb;

use super::sample;
use crate::domain::catalog::{Catalog, Command, Record};
use crate::domain::session::Session;
use crate::store::replica::state_hash;
use crate::store::wire::{SnapshotError, read_snapshot, write_snapshot};

fn written(catalog: &Catalog) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshot(catalog, 1, &mut bytes).expect("a vector takes everything");
    bytes
}

fn read(bytes: &[u8]) -> Result<Catalog, SnapshotError> {
    read_snapshot(&mut { bytes }, 1)
}

fn item(item: pb::snapshot_item::Item) -> Vec<u8> {
    pb::SnapshotItem { item: Some(item) }.encode_length_delimited_to_vec()
}

#[test]
fn a_snapshot_holds_the_whole_state() {
    for state in [Catalog::new(), sample::state()] {
        let bytes = written(&state);
        let restored = read(&bytes).expect("just written");
        assert_eq!(restored, state);
        assert_eq!(state_hash(&restored), state_hash(&state));
        assert_eq!(written(&restored), bytes, "equal states have equal bytes");
    }
}

#[test]
fn a_thousand_sessions_come_back_with_all_their_subscriptions() {
    let mut state = sample::state();
    let index = state.applied_index();
    for number in 1_000..2_000 {
        let commands = [
            Command::OpenSession(sample::open_session(number, 100)),
            Command::ChangeSubscriptions(sample::subscribe(number, 100)),
        ];
        for command in commands {
            assert!(state.apply(index + u64::from(number), command, &mut Vec::new()).is_ok());
        }
    }
    let restored = read(&written(&state)).expect("just written");
    assert_eq!(restored.session_count(), 1_002);
    assert_eq!(restored, state);
    assert_eq!(state_hash(&restored), state_hash(&state));
}

#[test]
fn a_snapshot_of_a_version_without_sessions_is_read() {
    let state = sample::state();
    let is_old = |record: &Record| !matches!(record, Record::Epoch { .. } | Record::Session(_));
    let old = Catalog::from_records(state.applied_index(), state.records().filter(is_old)).expect("valid");
    let restored = read(&written(&old)).expect("just written");
    assert_eq!((restored.session_count(), restored.epochs().count()), (0, 0));
    assert_eq!(restored.counts(), state.counts());
}

#[test]
fn sessions_that_contradict_the_rest_are_refused() {
    let state = sample::state();
    let sessions: Vec<_> = state.all_sessions().cloned().collect();
    let refused = |change: &dyn Fn(Vec<Record>) -> Vec<Record>| {
        let records = change(state.records().collect());
        Catalog::from_records(state.applied_index(), records).is_err()
    };
    assert!(refused(&|records| {
        records.into_iter().filter(|record| !matches!(record, Record::Epoch { .. })).collect()
    }));
    assert!(refused(&|records| {
        records.into_iter().filter(|record| !matches!(record, Record::Password { .. })).collect()
    }));
    let twice = Record::Session(Arc::clone(&sessions[0]));
    assert!(refused(&|records| [records, vec![twice.clone()]].concat()), "the same session twice");
    let again = Session::clone(&sessions[1]);
    let mut named = Session { client_id: "c".into(), ..again };
    named.id.index += 1;
    let mut rival = named.clone();
    rival.id.index += 1;
    let rivals = [named, rival].map(|session| Record::Session(Arc::new(session))).to_vec();
    assert!(!refused(&|records| [records, rivals[..1].to_vec()].concat()));
    assert!(refused(&|records| [records, rivals.clone()].concat()), "one device and client identifier");
}

#[test]
fn the_hash_tells_states_apart_and_ignores_the_index() {
    let state = sample::state();
    let mut other = state.clone();
    let message = sample::permanent("$devices/d1/state", b"off");
    let command = Command::SetPermanent(message);
    assert!(other.apply(state.applied_index() + 1, command, &mut Vec::new()).is_ok());
    assert_ne!(state_hash(&other), state_hash(&state));
    assert_ne!(state_hash(&Catalog::new()), state_hash(&state));
    let later = Catalog::from_records(state.applied_index() + 1_000, state.records()).expect("a valid state");
    assert_eq!(state_hash(&later), state_hash(&state));
}

#[test]
fn a_cut_snapshot_is_refused_wherever_it_is_cut() {
    let bytes = written(&sample::state());
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "cut at {length} of {}", bytes.len());
    }
    let more = [bytes.as_slice(), &[0]].concat();
    assert!(matches!(read(&more), Err(SnapshotError::Item { .. })));
}

#[test]
fn a_missing_item_is_noticed() {
    let header = item(pb::snapshot_item::Item::Header(pb::SnapshotHeader { version: 1, applied_index: 5 }));
    let end = item(pb::snapshot_item::Item::End(pb::SnapshotEnd { items: 1 }));
    let result = read(&[header.clone(), end].concat());
    assert!(matches!(result, Err(SnapshotError::Incomplete { found: 0, expected: 1 })), "{result:?}");
    let end = item(pb::snapshot_item::Item::End(pb::SnapshotEnd { items: 0 }));
    assert_eq!(read(&[header, end].concat()).expect("whole").applied_index(), 5);
}

#[test]
fn newer_formats_and_unknown_items_are_refused() {
    // A44: snapshot from a newer version.
    let newer = item(pb::snapshot_item::Item::Header(pb::SnapshotHeader { version: 9, applied_index: 0 }));
    assert!(matches!(read(&newer), Err(SnapshotError::UnknownVersion { found: 9, newest_known: 1 })));
    let header = item(pb::snapshot_item::Item::Header(pb::SnapshotHeader { version: 1, applied_index: 5 }));
    // Field 31, which no version wrote so far.
    let unknown = [3, 0xfa, 0x01, 0x00];
    let result = read(&[header.as_slice(), &unknown].concat());
    assert!(matches!(result, Err(SnapshotError::Item { position: 1, .. })), "{result:?}");
}

#[test]
fn a_length_that_lies_takes_no_memory() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2, 3];
    assert!(matches!(read(&huge), Err(SnapshotError::ItemTooLong { .. })));
    let endless = [0xff; 16];
    assert!(matches!(read(&endless), Err(SnapshotError::Item { .. })));
}

#[test]
fn contradictions_are_refused() {
    let header = item(pb::snapshot_item::Item::Header(pb::SnapshotHeader { version: 1, applied_index: 5 }));
    let orphan = pb::Device { id: "d1".into(), registry_id: "nowhere".into(), ..pb::Device::default() };
    let orphan = item(pb::snapshot_item::Item::Device(orphan));
    let end = item(pb::snapshot_item::Item::End(pb::SnapshotEnd { items: 1 }));
    assert!(matches!(read(&[header, orphan, end].concat()), Err(SnapshotError::Contradiction(_))));
}

proptest! {
    #[test]
    fn no_damage_makes_reading_panic(at in any::<proptest::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = written(&sample::state());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Damage that still is a state must be one that can be written again.
        if let Ok(state) = read(&bytes) {
            assert_eq!(read(&written(&state)).expect("just written"), state);
        }
    }
}
