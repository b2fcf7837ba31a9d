//! Commands that list.

use serde_json::Value as Json;

use super::Session;
use crate::cli::error::CliError;
use crate::cli::output::table::Column;
use crate::cli::output::{note, print_list};
use crate::cli::resource::{Kind, Pages, entries};

impl Session {
    /// Lists the pages of a method, and says so when the limit cut them.
    pub(super) async fn list_pages(
        &mut self,
        pages: Pages,
        limit: u32,
        page_size_max: u32,
        columns: &[Column],
    ) -> Result<(), CliError> {
        let (messages, more) = pages.take(&mut self.client, limit, page_size_max).await?;
        print_list(self.format, columns, &messages)?;
        if more {
            note(&format!("note: there are more than {limit}; list them with a higher --limit"));
        }
        Ok(())
    }

    /// Lists the resources of a kind.
    pub(super) async fn list_resources(
        &mut self,
        kind: &'static Kind,
        request: Json,
        limit: u32,
        columns: &[Column],
    ) -> Result<(), CliError> {
        let pages = Pages::new(kind, "List", kind.list_field, request);
        self.list_pages(pages, limit, kind.page_size_max, columns).await
    }

    /// Lists what a method without pages returns.
    pub(super) async fn list_all(
        &mut self,
        kind: &'static Kind,
        method: &str,
        field: &str,
        request: Json,
        columns: &[Column],
    ) -> Result<(), CliError> {
        let answer = self.client.call(kind.service, method, request).await?;
        print_list(self.format, columns, &entries(&answer, field))
    }
}
