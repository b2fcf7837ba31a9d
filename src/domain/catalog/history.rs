//! Operations and idempotency keys, and how they are forgotten.

use std::sync::Arc;

use smol_str::SmolStr;

use super::operation::{IdempotencyKey, IdempotencyRecord, Operation, OperationMetadata, OperationResponse};
use super::state::Catalog;
use crate::domain::id::OperationId;
use crate::domain::timestamp::Timestamp;

/// How many records of one kind one mutation removes at most, for one reason. A mutation adds one, so they run out.
const FORGOTTEN_PER_MUTATION_MAX: usize = 64;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

impl Catalog {
    /// The operation that a subject's key led to, if the key is still honoured at `at` (U-P9). A key whose operation
    /// was forgotten because of a limit is not honoured either.
    pub fn operation_of_key(
        &self,
        subject: &str,
        key: &IdempotencyKey,
        at: Timestamp,
    ) -> Option<Arc<Operation>> {
        let record = self.idempotency.get(&(SmolStr::new(subject), key.clone()))?;
        if is_expired(record.at, self.limits.idempotency_retention_s, at) {
            return None;
        }
        self.operations.get(&record.operation_id).cloned()
    }

    pub(super) fn record_operation(
        &mut self,
        at: Timestamp,
        id: OperationId,
        created_by: SmolStr,
        key: Option<IdempotencyKey>,
        metadata: OperationMetadata,
        response: OperationResponse,
    ) -> Arc<Operation> {
        self.forget_expired(at);
        if let Some(key) = key {
            let subject = created_by.clone();
            self.remove_key(&subject, &key);
            self.make_room_for_key();
            self.insert_key(Arc::new(IdempotencyRecord { subject, key, operation_id: id.clone(), at }));
        }
        let operation = Arc::new(Operation { id, created_at: at, created_by, metadata, response });
        self.make_room_for_operation(operation.metadata.listed_under().id());
        self.insert_operation(&operation);
        operation
    }

    /// Puts an operation that is not there into the table and its indices.
    pub(super) fn insert_operation(&mut self, operation: &Arc<Operation>) {
        let entity = SmolStr::new(operation.metadata.listed_under().id());
        let id = SmolStr::new(operation.id.as_str());
        self.index.operations_by_entity.insert((entity, operation.created_at, id));
        self.index.operations_by_time.insert((operation.created_at, operation.id.clone()));
        self.operations.insert(operation.id.clone(), Arc::clone(operation));
    }

    fn remove_operation(&mut self, id: &OperationId) {
        let Some(operation) = self.operations.remove(id) else { return };
        let entity = SmolStr::new(operation.metadata.listed_under().id());
        let entry = (entity, operation.created_at, SmolStr::new(id.as_str()));
        self.index.operations_by_entity.remove(&entry);
        self.index.operations_by_time.remove(&(operation.created_at, id.clone()));
    }

    pub(super) fn insert_key(&mut self, record: Arc<IdempotencyRecord>) {
        let entry = (record.at, record.subject.clone(), record.key.clone());
        self.index.idempotency_by_time.insert(entry);
        self.idempotency.insert((record.subject.clone(), record.key.clone()), record);
    }

    fn remove_key(&mut self, subject: &SmolStr, key: &IdempotencyKey) {
        if let Some(old) = self.idempotency.remove(&(subject.clone(), key.clone())) {
            self.index.idempotency_by_time.remove(&(old.at, subject.clone(), key.clone()));
        }
    }

    /// Removes what is older than its retention at `now`, a bounded number at a time.
    fn forget_expired(&mut self, now: Timestamp) {
        for _ in 0..FORGOTTEN_PER_MUTATION_MAX {
            match self.index.operations_by_time.get_min().cloned() {
                Some((at, id)) if is_expired(at, self.limits.operation_retention_s, now) => {
                    self.remove_operation(&id);
                }
                _ => break,
            }
        }
        for _ in 0..FORGOTTEN_PER_MUTATION_MAX {
            match self.index.idempotency_by_time.get_min().cloned() {
                Some((at, subject, key)) if is_expired(at, self.limits.idempotency_retention_s, now) => {
                    self.remove_key(&subject, &key);
                }
                _ => break,
            }
        }
    }

    /// Before one more comes in, so that it stays whatever the time on it: after a step back of the clock it is the
    /// oldest, and clients read the operation that they have just been answered with.
    fn make_room_for_operation(&mut self, entity: &str) {
        let entity = SmolStr::new(entity);
        let first = (entity.clone(), Timestamp::default(), SmolStr::default());
        // Counted instead of remembered: nearly all entities are devices with one operation.
        let held =
            || self.index.operations_by_entity.range(first.clone()..).take_while(|held| held.0 == entity);
        let kept = self.limits.operations_per_resource_max.max(1) - 1;
        let surplus = usize::try_from((held().count() as u64).saturating_sub(kept)).unwrap_or(usize::MAX);
        let oldest =
            held().take(surplus.min(FORGOTTEN_PER_MUTATION_MAX)).map(|(_, _, id)| OperationId::new(id));
        for oldest in oldest.collect::<Vec<_>>() {
            self.remove_operation(&oldest);
        }
        for _ in 0..FORGOTTEN_PER_MUTATION_MAX {
            if (self.operations.len() as u64) < self.limits.operations_max.max(1) {
                break;
            }
            let Some((_, oldest)) = self.index.operations_by_time.get_min().cloned() else { break };
            self.remove_operation(&oldest);
        }
    }

    /// Before one more comes in, for the same reason.
    fn make_room_for_key(&mut self) {
        for _ in 0..FORGOTTEN_PER_MUTATION_MAX {
            if (self.idempotency.len() as u64) < self.limits.idempotency_keys_max.max(1) {
                break;
            }
            let Some((_, subject, key)) = self.index.idempotency_by_time.get_min().cloned() else { break };
            self.remove_key(&subject, &key);
        }
    }
}

fn is_expired(at: Timestamp, retention_s: u64, now: Timestamp) -> bool {
    let retention = retention_s.saturating_mul(NANOSECONDS_PER_SECOND);
    at.nanoseconds.saturating_add(retention) < now.nanoseconds
}
