//! The store over a directory: what was acknowledged is there after a restart, and observers see what was applied.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_cluster::{Formats, Replica as _};
use tokio::sync::oneshot;

use super::sample;
use crate::domain::catalog::{Catalog, Event, IdempotencyKey, OperationMetadata, Record, Rejection};
use crate::domain::token::Role;
use crate::store::replica::{CatalogReplica, state_hash};
use crate::store::{
    ApplyObserver, CatalogHandle, Effects, MutationContext, NoPeers, Store, StoreError, StoreOptions, open,
};

/// Remembers what it was told, with the state that went with it.
#[derive(Default)]
pub(super) struct Recorder {
    events: Mutex<Vec<(u64, Event)>>,
}

impl ApplyObserver for Recorder {
    fn applied(&self, catalog: &Catalog, index: u64, event: &Event) {
        assert_eq!(catalog.applied_index(), index, "the state is that after the command");
        self.events.lock().push((index, event.clone()));
    }
}

impl Recorder {
    /// What it was told since the last call.
    pub(super) fn take(&self) -> Vec<(u64, Event)> {
        std::mem::take(&mut self.events.lock())
    }

    /// What it was told last.
    pub(super) fn last(&self) -> (u64, Event) {
        self.events.lock().last().cloned().expect("it was told something")
    }
}

pub(super) async fn start(directory: &Path) -> (Store, Arc<Recorder>) {
    let mut options = StoreOptions::new(directory, "test");
    options.node.reserve_bytes = Some(0);
    start_with(options).await
}

pub(super) async fn start_with(options: StoreOptions) -> (Store, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let observer = Arc::clone(&recorder) as Arc<dyn ApplyObserver>;
    let store = open(options, observer, Effects::new(), Arc::new(NoPeers)).await.expect("the store opens");
    (store, recorder)
}

pub(super) fn context() -> MutationContext {
    MutationContext { subject: "tester".into(), idempotency_key: None }
}

pub(super) async fn fill(catalog: &CatalogHandle) {
    for command in sample::history() {
        catalog.propose(command).await.expect("the history is allowed");
    }
}

/// The hash of the state but for the epochs, of which every start begins a new one.
fn without_epochs(catalog: &CatalogHandle) -> [u8; 32] {
    let view = catalog.view();
    let records = view.records().filter(|record| !matches!(record, Record::Epoch { .. }));
    state_hash(&Catalog::from_records(view.applied_index(), records).expect("no session needs them"))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_acknowledged_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, first) = start(directory.path()).await;
    fill(&store.catalog()).await;
    let before = without_epochs(&store.catalog());
    store.shutdown().await;

    let (store, second) = start(directory.path()).await;
    assert_ne!(store.catalog().view().limits(), &sample::state().limits().clone(), "configured limits win");
    let replayed = second.events.lock().clone();
    assert_eq!(replayed, *first.events.lock(), "the log tells the same story again");
    store.shutdown().await;

    let mut options = StoreOptions::new(directory.path(), "test");
    options.node.reserve_bytes = Some(0);
    options.limits = sample::limits();
    let (store, _) = start_with(options).await;
    let after = without_epochs(&store.catalog());
    assert_eq!(after, before, "the same state but for the limits in between");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_takes_the_place_of_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = start(directory.path()).await;
    fill(&store.catalog()).await;
    store.snapshot_now().await.expect("there is room");
    let context = MutationContext {
        idempotency_key: Some(IdempotencyKey { method: "m".into(), key: "k".into() }),
        ..context()
    };
    let after = store.catalog().mutate(sample::create_registry("after"), context.clone()).await;
    let after = after.expect("allowed");
    let view = store.catalog().view();
    store.shutdown().await;

    let (store, _) = start(directory.path()).await;
    let catalog = store.catalog();
    catalog.read(|catalog| {
        assert_eq!(catalog.counts(), view.counts());
        assert_eq!(catalog.operation(&after.id), Some(&after));
        assert_eq!(catalog.stored_message_totals(), view.stored_message_totals());
    });
    // A retry after the restart still does not act twice (U-P9).
    let again = catalog.mutate(sample::create_registry("twin"), context).await.expect("allowed");
    assert_eq!(again.id, after.id);
    assert!(catalog.read(|catalog| catalog.registry("twin").is_none()));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_visible_when_it_is_acknowledged_and_a_refusal_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recorder) = start(directory.path()).await;
    let catalog = store.catalog();
    let operation = catalog.mutate(sample::create_registry("r1"), context()).await.expect("allowed");
    assert!(matches!(operation.metadata, OperationMetadata::CreateRegistry { .. }));
    assert_eq!(operation.created_by, "tester");
    assert!(catalog.read(|catalog| catalog.registry("r1").is_some()));
    let refused = catalog.mutate(sample::create_registry("r1"), context()).await;
    assert!(matches!(refused, Err(StoreError::Rejected(Rejection::IdTaken { .. }))), "{refused:?}");

    let (done, waiting) = oneshot::channel();
    let message = sample::permanent("$registries/r1/config", b"c");
    catalog.set_permanent_async(message, move |result| {
        let _ = done.send(result);
    });
    assert_eq!(waiting.await.expect("called"), Ok(()));
    let last = recorder.events.lock().last().cloned();
    assert!(matches!(last, Some((_, Event::PermanentSet { .. }))), "told before the answer: {last:?}");
    store.shutdown().await;
    // The node has given up its epoch before it closed.
    let refused = catalog.mutate(sample::create_registry("r2"), context()).await;
    let is_certain = matches!(refused, Err(StoreError::Unavailable { may_have_applied: false, .. }));
    assert!(is_certain || refused == Err(StoreError::Closing), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_administrator_is_made_once_and_a_given_secret_always_works() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = start(directory.path()).await;
    let catalog = store.catalog();
    let first = catalog.ensure_administrator([1; 32]).await.expect("allowed");
    let again = catalog.ensure_administrator([2; 32]).await.expect("allowed");
    assert_eq!(first, again);
    let given = catalog.ensure_token_of_file([3; 32]).await.expect("allowed");
    assert_eq!(catalog.ensure_token_of_file([3; 32]).await.as_ref(), Ok(&given));
    assert_eq!(given.role, Role::Administrator);
    let viewer = catalog.create_token("v".into(), Role::Viewer, [4; 32], first.id.as_str().into()).await;
    assert_eq!(viewer.map(|token| token.created_by.clone()), Ok(first.id.as_str().into()));
    assert_eq!(catalog.revoke_token(first.id.clone()).await, Ok(first));
    assert!(catalog.read(|catalog| catalog.token_by_hash(&[1; 32]).is_none()));
    store.shutdown().await;
}

#[test]
fn a_command_that_cannot_be_understood_stops_the_machine() {
    let replica = CatalogReplica::new(Arc::new(Recorder::default()), Formats::new(1, 1));
    let garbage = [Bytes::from_static(b"\xff\xff")];
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| replica.apply(1, &garbage)));
    assert!(result.is_err(), "skipping it would let this node differ from its peers");
    assert_eq!(replica.read(Catalog::applied_index), 0);
}
