//! Sessions through the handle: over a restart, in the observer's eyes, and on a nearly full disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rookery_cluster::{DiskProbe, DiskSpace, Formats, NodeChange, Replica as _};
use tokio::sync::oneshot;

use super::restart::{Recorder, context, fill, start, start_with};
use super::sample;
use crate::domain::catalog::{
    Catalog, CloseSession, Event, OpenSession, PageRequest, Rejection, SessionFilter,
};
use crate::domain::quota::CatalogLimits;
use crate::domain::session::CloseCause;
use crate::mqtt::packet::subscribe::SubackCode;
use crate::mqtt::qos::QoS;
use crate::store::replica::CatalogReplica;
use crate::store::{
    CatalogHandle, ChangedSubscriptions, OpenedSession, Standing, Store, StoreError, StoreOptions,
};

async fn open(catalog: &CatalogHandle, session: OpenSession) -> Result<OpenedSession, StoreError> {
    let (done, answered) = oneshot::channel();
    catalog.open_session_async(session, move |result| {
        let _gone = done.send(result);
    });
    answered.await.expect("called once")
}

async fn subscribe(
    catalog: &CatalogHandle,
    index: u32,
    epoch: u64,
) -> Result<ChangedSubscriptions, StoreError> {
    let (done, answered) = oneshot::channel();
    catalog.change_subscriptions_async(sample::subscribe(index, epoch), move |result| {
        let _gone = done.send(result);
    });
    answered.await.expect("called once")
}

async fn close(catalog: &CatalogHandle, session: &OpenSession) -> Result<(), StoreError> {
    let (done, answered) = oneshot::channel();
    let session = CloseSession { id: session.id, epoch: session.epoch, at: session.at };
    catalog.close_session_async(session, move |result| {
        let _gone = done.send(result);
    });
    answered.await.expect("called once")
}

fn epoch(store: &Store) -> u64 {
    match *store.lease().standing().borrow() {
        Standing::Serving { epoch } => epoch,
        Standing::Fenced { .. } => panic!("a node that runs alone serves"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_opened_changed_and_closed_through_the_handle() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, recorder) = start(directory.path()).await;
    let (catalog, epoch) = (store.catalog(), epoch(&store));
    fill(&catalog).await;
    let session = sample::open_session(1, epoch);
    let opened = open(&catalog, session.clone()).await.expect("admitted");
    assert_eq!(opened.replaced, None);
    assert_eq!(recorder.last().0, opened.index);
    let changed = subscribe(&catalog, 1, epoch).await.expect("open");
    assert_eq!(changed.codes, [QoS::AtLeastOnce, QoS::AtMostOnce].map(SubackCode::Granted));
    assert!(changed.index > opened.index);
    let known = catalog.session(session.id).expect("open");
    assert_eq!(known.subscriptions.len(), 2);
    assert_eq!(recorder.last().0, changed.index);
    assert_eq!(catalog.sessions_of_node_count(sample::NODE), 1);
    let page = catalog.sessions(&SessionFilter::default(), &PageRequest::first(10));
    assert_eq!(page.items, [Arc::clone(&known)]);

    let late = open(&catalog, OpenSession { epoch: epoch + 1, ..sample::open_session(2, epoch) }).await;
    let node = sample::NODE;
    assert_eq!(late, Err(StoreError::Rejected(Rejection::EpochOver { node })));
    close(&catalog, &session).await.expect("open");
    let closed = Event::SessionClosed { session: known, cause: CloseCause::Closed };
    assert_eq!(recorder.last().1, closed);
    let over = Rejection::SessionOver { id: session.id };
    assert_eq!(subscribe(&catalog, 1, epoch).await, Err(StoreError::Rejected(over)));
    close(&catalog, &session).await.expect("nothing is left to do");
    store.shutdown().await;
    assert_eq!(open(&catalog, session).await, Err(StoreError::Closing));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_outlives_its_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = start(directory.path()).await;
    let (catalog, first_epoch) = (store.catalog(), epoch(&store));
    fill(&catalog).await;
    open(&catalog, sample::open_session(1, first_epoch)).await.expect("admitted");
    subscribe(&catalog, 1, first_epoch).await.expect("open");
    store.snapshot_now().await.expect("there is room");
    open(&catalog, sample::open_session(2, first_epoch)).await.expect("admitted");
    let before: Vec<_> = catalog.view().all_sessions().cloned().collect();
    store.shutdown().await;

    // One comes back from the snapshot, one from the log, and both end with the new epoch.
    let (store, recorder) = start(directory.path()).await;
    let second_epoch = epoch(&store);
    assert!(second_epoch > first_epoch);
    let ended = recorder.take().into_iter().filter_map(|(index, event)| match event {
        Event::SessionClosed { session, cause: CloseCause::NodeGone } => Some((index, session)),
        _ => None,
    });
    let expected: Vec<_> = before.into_iter().map(|session| (second_epoch, session)).collect();
    assert_eq!(ended.collect::<Vec<_>>(), expected);
    let catalog = store.catalog();
    assert_eq!(catalog.read(Catalog::session_count), 0);
    let old = open(&catalog, sample::open_session(1, first_epoch)).await;
    assert_eq!(old, Err(StoreError::Rejected(Rejection::EpochOver { node: sample::NODE })));
    open(&catalog, sample::open_session(1, second_epoch)).await.expect("admitted");
    store.shutdown().await;
}

#[test]
fn the_observer_hears_of_every_session_of_a_node_that_is_gone() {
    let recorder = Arc::new(Recorder::default());
    let replica = CatalogReplica::new(Arc::clone(&recorder) as Arc<_>, Formats::new(1, 1));
    let bytes: Vec<_> = sample::history().iter().map(sample::encode_command).collect();
    replica.apply(1, &bytes);
    replica.node_changed(2, NodeChange::Registered { node_id: 1, epoch: 2 });
    let sessions = (0..3).map(|index| sample::open_session(index, 2));
    let commands: Vec<_> = sessions
        .map(|session| sample::encode_command(&crate::domain::catalog::Command::OpenSession(session)))
        .collect();
    assert!(replica.apply(3, &commands).iter().all(Result::is_ok));
    recorder.take();
    replica.node_changed(9, NodeChange::GivenUp { node_id: 1, epoch: 2 });
    let told = recorder.take();
    let gone = |(index, event): &(u64, Event)| {
        *index == 9 && matches!(event, Event::SessionClosed { cause: CloseCause::NodeGone, .. })
    };
    assert!(told.len() == 3 && told.iter().all(gone), "{told:?}");
    assert_eq!(replica.read(Catalog::session_count), 0);
}

/// A disk that has as much space as the test says.
struct Told(AtomicU64);

impl DiskProbe for Told {
    fn measure(&self, _path: &Path) -> std::io::Result<DiskSpace> {
        Ok(DiskSpace { free_bytes: self.0.load(Ordering::SeqCst), total_bytes: u64::MAX })
    }
}

fn on_disk(directory: &Path, disk: &Arc<Told>) -> StoreOptions {
    let mut options = StoreOptions::new(directory, "test");
    options.node.reserve_bytes = Some(1_000);
    options.node.disk_probe = Arc::clone(disk) as Arc<dyn DiskProbe>;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_and_go_while_the_disk_refuses_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(Told(AtomicU64::new(u64::MAX)));
    let (store, _) = start_with(on_disk(directory.path(), &disk)).await;
    let (catalog, epoch) = (store.catalog(), epoch(&store));
    fill(&catalog).await;
    disk.0.store(999, Ordering::SeqCst);
    let mut status = store.status();
    status.wait_for(|status| status.disk_free_bytes == 999).await.expect("the node runs");
    let refused = catalog.mutate(sample::create_registry("r9"), context()).await;
    assert!(matches!(refused, Err(StoreError::StorageFull { .. })), "{refused:?}");
    open(&catalog, sample::open_session(1, epoch)).await.expect("there is room for it");
    subscribe(&catalog, 1, epoch).await.expect("there is room for it");
    close(&catalog, &sample::open_session(1, epoch)).await.expect("there is room for it");
    disk.0.store(499, Ordering::SeqCst);
    let refused = open(&catalog, sample::open_session(1, epoch)).await;
    assert_eq!(refused, Err(StoreError::StorageFull { free_bytes: 499, reserve_bytes: 500 }));
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_that_cannot_be_put_in_force_at_the_start_are_put_in_force_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let disk = Arc::new(Told(AtomicU64::new(0)));
    let mut options = on_disk(directory.path(), &disk);
    options.limits = CatalogLimits { devices_max: Some(17), ..CatalogLimits::default() };
    let limits = options.limits.clone();
    let (store, _) = start_with(options).await;
    let catalog = store.catalog();
    assert_eq!(catalog.read(|catalog| catalog.limits().clone()), CatalogLimits::default());
    disk.0.store(u64::MAX, Ordering::SeqCst);
    let in_force = async {
        while catalog.read(|catalog| *catalog.limits() != limits) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), in_force).await.expect("it is tried again");
    store.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_owes_is_tried_until_it_is_stored_or_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, _) = start(directory.path()).await;
    let catalog = store.catalog();
    let attempts = AtomicU64::new(0);
    let attempt = || {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        let catalog = catalog.clone();
        async move {
            match attempt {
                0 => Err(StoreError::NoLeader { may_have_applied: false }),
                _ => catalog.ensure_administrator([1; 32]).await,
            }
        }
    };
    let token = catalog.until_stored("the token", attempt).await.expect("stored in the end");
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    assert!(catalog.read(|catalog| catalog.token(&token.id).is_some()));
    let rejected = catalog.until_stored("the token", || catalog.revoke_token(token.id.clone())).await;
    assert!(matches!(rejected, Err(StoreError::Rejected(Rejection::LastAdministrator { .. }))));
    store.shutdown().await;
}
