//! The handle through which the rest of the server reads and changes the catalog.

use std::sync::Arc;

use bytes::Bytes;
use rookery_cluster::{Lease, Proposer};
use smol_str::SmolStr;
use tracing::Instrument as _;

use super::duty;
use super::error::StoreError;
use super::replica::{CatalogReplica, state_hash};
use super::wire;
use crate::clock;
use crate::domain::catalog::{
    Catalog, Change, Command, IdempotencyKey, LastSeen, Mutation, NewToken, Operation, Outcome, SetPermanent,
    TokenCondition,
};
use crate::domain::id::{self, OperationId, TokenId};
use crate::domain::quota::CatalogLimits;
use crate::domain::token::{ApiToken, Role, TokenHash};
use crate::observe::histogram::Histogram;
use crate::observe::traces;

/// Most devices in one command of monitoring data; longer lists are split. Keeps commands far below their limit.
const LAST_SEEN_PER_COMMAND_MAX: usize = 1_000;

/// Name of the tokens that the server makes for its operator.
const OPERATOR_TOKEN_NAME: &str = "administrator";

/// A fresh identifier for a resource, password, export, token or operation (U-D1).
pub fn fresh_id() -> SmolStr {
    id::generate(&rand::random())
}

/// Who makes a change.
#[derive(Debug, Clone)]
pub struct MutationContext {
    /// Id of the caller; becomes `created_by` of the operation.
    pub subject: SmolStr,
    /// The caller's mark against acting twice (U-P9).
    pub idempotency_key: Option<IdempotencyKey>,
}

/// Reads and changes the catalog. Clones are cheap; all see the same state.
#[derive(Clone)]
pub struct CatalogHandle {
    replica: Arc<CatalogReplica>,
    proposer: Proposer<CatalogReplica>,
    lease: Lease,
    commit_times: Arc<Histogram>,
}

impl CatalogHandle {
    pub(super) fn new(
        replica: Arc<CatalogReplica>,
        proposer: Proposer<CatalogReplica>,
        lease: Lease,
    ) -> Self {
        Self { replica, proposer, lease, commit_times: Arc::default() }
    }

    pub(super) fn proposer(&self) -> &Proposer<CatalogReplica> {
        &self.proposer
    }

    /// Reads under the catalog's lock: short, without blocking, and never from within an observer. Long work takes
    /// [`Self::view`].
    pub fn read<T>(&self, read: impl FnOnce(&Catalog) -> T) -> T {
        self.replica.read(read)
    }

    /// The state at this moment, as a value of its own. Cheap at any size.
    pub fn view(&self) -> Catalog {
        self.read(Catalog::clone)
    }

    /// The hash of the state and the index of the last command in it. Takes long for a large state.
    pub fn state_hash(&self) -> (u64, [u8; 32]) {
        let view = self.view();
        (view.applied_index(), state_hash(&view))
    }

    /// How long commands took that [`Self::propose`] proposed and that were applied.
    pub fn commit_times(&self) -> &Histogram {
        &self.commit_times
    }

    /// The bytes of a command for the log, as all members read it.
    pub(super) fn encode(&self, command: &Command) -> Bytes {
        wire::encode_command(command, self.proposer.format())
    }

    /// Proposes a command and waits until it is on disk and applied here.
    ///
    /// # Errors
    /// [`StoreError`]; the command is as good as never proposed, unless the error says that it may have applied.
    pub async fn propose(&self, command: Command) -> Result<Outcome, StoreError> {
        let begun = clock::monotonic();
        let response = self.proposer.propose(self.encode(&command)).instrument(traces::commit()).await?;
        self.commit_times.record(begun.elapsed());
        Ok(response?)
    }

    /// Makes a change on behalf of a caller and returns its operation, which is done (U-P1).
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn mutate(
        &self,
        change: Change,
        context: MutationContext,
    ) -> Result<Arc<Operation>, StoreError> {
        self.check_serves()?;
        let mutation = Mutation {
            at: clock::now(),
            operation_id: OperationId::new(fresh_id()),
            subject: context.subject,
            idempotency_key: context.idempotency_key,
            change,
        };
        match self.propose(Command::Mutate(mutation)).await? {
            Outcome::Operation(operation) => Ok(operation),
            outcome => Err(unexpected(&outcome)),
        }
    }

    /// Makes a token with a fresh id. The secret stays with the caller; only its hash comes here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn create_token(
        &self,
        name: SmolStr,
        role: Role,
        hash: TokenHash,
        created_by: SmolStr,
    ) -> Result<Arc<ApiToken>, StoreError> {
        self.check_serves()?;
        let id = TokenId::new(fresh_id());
        let token = ApiToken { id, name, role, hash, created_at: clock::now(), created_by };
        self.put_token(NewToken { token, condition: TokenCondition::Always }).await
    }

    /// Makes a token useless and returns it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn revoke_token(&self, id: TokenId) -> Result<Arc<ApiToken>, StoreError> {
        self.check_serves()?;
        match self.propose(Command::RevokeToken { id }).await? {
            Outcome::Token(token) => Ok(token),
            outcome => Err(unexpected(&outcome)),
        }
    }

    /// Makes the first administrator's token unless there is one already; returns the one that there is. For a secret
    /// that was generated on the first start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_administrator(&self, hash: TokenHash) -> Result<Arc<ApiToken>, StoreError> {
        self.put_token(operator_token(hash, TokenCondition::NoAdministrator)).await
    }

    /// Makes an administrator's token for a secret that the operator gives on every start, unless it is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_token_of_file(&self, hash: TokenHash) -> Result<Arc<ApiToken>, StoreError> {
        if let Some(known) = self.read(|catalog| catalog.token_by_hash(&hash).cloned()) {
            return Ok(known);
        }
        self.put_token(operator_token(hash, TokenCondition::NewSecret)).await
    }

    /// Repeats a change that the node owes from its start on, such as [`Self::ensure_administrator`], until the cluster has
    /// stored it. Waits while the node does not serve, for example because it has still to join or nobody leads; then the
    /// state that `attempt` looks at is that of the cluster. `what` names the change in the log. On a node that ends before
    /// it ever served this never resolves, so its owner drops it then.
    ///
    /// # Errors
    /// [`StoreError`] that will not pass: the change is against the rules, or the node is shutting down.
    pub async fn until_stored<T, Attempt>(
        &self,
        what: &str,
        attempt: impl FnMut() -> Attempt,
    ) -> Result<T, StoreError>
    where
        Attempt: Future<Output = Result<T, StoreError>>,
    {
        duty::until_stored(self.lease.clone(), what, attempt).await
    }

    /// Puts the configured limits in force unless they are already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ensure_limits(&self, limits: CatalogLimits) -> Result<(), StoreError> {
        if self.read(|catalog| *catalog.limits() == limits) {
            return Ok(());
        }
        self.propose(Command::SetLimits(limits)).await.map(|_| ())
    }

    /// Proposes a message for a permanent topic without waiting. `on_done` is called exactly once: on the thread that
    /// applies commands, after the message is on disk and observers were told, or at once on the caller's thread if
    /// it cannot be proposed. It must be short and must not block.
    pub fn set_permanent_async(
        &self,
        message: SetPermanent,
        on_done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let command = self.encode(&Command::SetPermanent(message));
        self.proposer.try_submit(command, move |response| {
            on_done(match response {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(rejection)) => Err(rejection.into()),
                Err(error) => Err(error.into()),
            });
        });
    }

    /// Notes when devices were last heard of, without waiting. Later news repeats what matters, so what cannot be
    /// stored now is dropped.
    pub fn last_seen(&self, batch: Vec<LastSeen>) {
        let mut rest = batch;
        while !rest.is_empty() {
            let later = rest.split_off(rest.len().min(LAST_SEEN_PER_COMMAND_MAX));
            let command = self.encode(&Command::LastSeen(rest));
            self.proposer.try_submit(command, |response| {
                if let Err(error) = response {
                    tracing::debug!(%error, "monitoring data is not stored");
                }
            });
            rest = later;
        }
    }

    /// A node that is no part of its cluster now takes no changes from people, though a leader may still be in reach: what
    /// it answered could be overtaken by what the others do without it. Reads are served; they may be old.
    fn check_serves(&self) -> Result<(), StoreError> {
        if self.lease.is_valid() {
            return Ok(());
        }
        let reason = "this node has lost its cluster".to_owned();
        Err(StoreError::Unavailable { reason, may_have_applied: false })
    }

    async fn put_token(&self, new: NewToken) -> Result<Arc<ApiToken>, StoreError> {
        match self.propose(Command::CreateToken(new)).await? {
            Outcome::Token(token) => Ok(token),
            outcome => Err(unexpected(&outcome)),
        }
    }
}

fn operator_token(hash: TokenHash, condition: TokenCondition) -> NewToken {
    let token = ApiToken {
        id: TokenId::new(fresh_id()),
        name: OPERATOR_TOKEN_NAME.into(),
        role: Role::Administrator,
        hash,
        created_at: clock::now(),
        created_by: SmolStr::default(),
    };
    NewToken { token, condition }
}

/// The catalog answers every kind of command with its kind of outcome, so this cannot happen; it is an error rather
/// than a panic because the change was made.
pub(super) fn unexpected(outcome: &Outcome) -> StoreError {
    StoreError::Unavailable { reason: format!("unexpected outcome {outcome:?}"), may_have_applied: true }
}
