//! Changes of API tokens.

use std::sync::Arc;

use smol_str::SmolStr;

use super::command::{NewToken, TokenCondition};
use super::entity::Resource;
use super::registries::check_count;
use super::rejection::{Limit, Rejection};
use super::state::{Catalog, not_found};
use crate::domain::id::TokenId;
use crate::domain::token::{ApiToken, Role};

impl Catalog {
    pub(super) fn create_token(&mut self, new: NewToken) -> Result<Arc<ApiToken>, Rejection> {
        let NewToken { token, condition } = new;
        let same_secret = self.token_by_hash(&token.hash).cloned();
        let in_the_way = match condition {
            TokenCondition::Always if same_secret.is_some() => return Err(Rejection::TokenTaken),
            TokenCondition::Always => None,
            TokenCondition::NoAdministrator => same_secret.or_else(|| self.administrators().next().cloned()),
            TokenCondition::NewSecret => same_secret,
        };
        if let Some(existing) = in_the_way {
            return Ok(existing);
        }
        if self.tokens.contains_key(&token.id) {
            let id = SmolStr::new(token.id.as_str());
            return Err(Rejection::IdTaken { resource: Resource::Token, id });
        }
        check_count(self.tokens.len(), Some(self.limits.tokens_max), Limit::Tokens)?;
        let token = Arc::new(token);
        self.insert_token(&token);
        Ok(token)
    }

    /// Puts a token that is not there into the table and its indices.
    pub(super) fn insert_token(&mut self, token: &Arc<ApiToken>) {
        self.index.tokens_by_hash.insert(token.hash, token.id.clone());
        self.index.tokens_by_time.insert((token.created_at, SmolStr::new(token.id.as_str())));
        self.tokens.insert(token.id.clone(), Arc::clone(token));
    }

    pub(super) fn revoke_token(&mut self, id: &TokenId) -> Result<Arc<ApiToken>, Rejection> {
        let token = self.tokens.get(id).cloned();
        let token = token.ok_or_else(|| not_found(Resource::Token, id.as_str()))?;
        if token.role == Role::Administrator && self.administrators().nth(1).is_none() {
            return Err(Rejection::LastAdministrator { id: SmolStr::new(id.as_str()) });
        }
        self.tokens.remove(id);
        self.index.tokens_by_hash.remove(&token.hash);
        self.index.tokens_by_time.remove(&(token.created_at, SmolStr::new(id.as_str())));
        Ok(token)
    }

    /// Whether any token has the role of an administrator.
    pub fn has_administrator(&self) -> bool {
        self.administrators().next().is_some()
    }

    fn administrators(&self) -> impl Iterator<Item = &Arc<ApiToken>> {
        self.tokens.values().filter(|token| token.role == Role::Administrator)
    }
}
