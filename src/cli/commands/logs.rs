//! `rookery registry|device|broker logs`: the connection log, as it has always looked (`spec/integrations.md`, section 3).

use std::time::Duration;

use serde_json::json;

use super::Session;
use crate::cli::arguments::Format;
use crate::cli::arguments::logs::{LogLevel, LogsArguments};
use crate::cli::error::CliError;
use crate::cli::output::value::Value;
use crate::cli::output::{note, print_object, write_while_read};
use crate::cli::resource::{Kind, entries};
use crate::clock;
use crate::domain::timestamp::Timestamp;

const LOGS: &str = "rookery.admin.v1.ConnectionLogService";

/// How often new records are asked for.
const FOLLOW_POLL: Duration = Duration::from_secs(1);

const SECOND_NS: u64 = 1_000_000_000;

impl Session {
    /// Prints the connection log of one resource.
    pub(super) async fn logs(
        &mut self,
        kind: &'static Kind,
        arguments: &LogsArguments,
    ) -> Result<(), CliError> {
        let entity = kind.id_of(&mut self.client, &arguments.target.reference()).await?;
        let levels: Vec<_> = arguments.levels.iter().copied().map(LogLevel::name).collect();
        let mut request = json!({ "entity_id": entity, "levels": levels, "limit": arguments.limit });
        for (field, flag, text) in
            [("since", "--since", &arguments.since), ("until", "--until", &arguments.until)]
        {
            if let Some(text) = text {
                request[field] = moment(flag, text)?.into();
            }
        }
        let fits = |record: &Value| {
            arguments.filter.as_ref().is_none_or(|part| record.text("message").contains(part.as_str()))
        };
        let mut records = self.records(request.clone()).await?;
        if !arguments.follow && self.format != Format::Text {
            records.retain(fits);
            return print_object(self.format, &Value::List(records));
        }
        let mut seen = Vec::new();
        loop {
            for record in records.iter().filter(|record| fits(record)) {
                if !write_while_read(&self.line(record)?)? {
                    return Ok(());
                }
            }
            if !arguments.follow {
                return Ok(());
            }
            // Those of the same moment as the last one come again.
            if let Some(last) = records.last() {
                request["since"] = last.text("at").into();
                seen = records;
            }
            tokio::time::sleep(FOLLOW_POLL).await;
            records = self.records(request.clone()).await?;
            records.retain(|record| !seen.contains(record));
        }
    }

    async fn records(&mut self, request: serde_json::Value) -> Result<Vec<Value>, CliError> {
        let answer = self.client.call(LOGS, "List", request).await?;
        let silent = Value::facts(&answer, self.format.spelling())?;
        if let Some(Value::List(nodes)) = silent.get("silent_nodes").or_else(|| silent.get("silentNodes")) {
            for node in nodes {
                if let Value::Text(node) = node {
                    note(&format!("{node} does not answer: what happened there is missing"));
                }
            }
        }
        entries(&answer, "records")
            .iter()
            .map(|record| Value::facts(record, self.format.spelling()))
            .collect()
    }

    /// One record as a line.
    fn line(&self, record: &Value) -> Result<String, CliError> {
        if self.format != Format::Text {
            let text = serde_json::to_string(record).map_err(|error| CliError::Answer(error.to_string()))?;
            return Ok(text + "\n");
        }
        let at = record.text("at").replace('T', " ");
        let at = at.get(..19).unwrap_or(&at);
        Ok(format!("{at}     {}\n", record.text("message")))
    }
}

/// A time as the API takes it, from one, or from how long ago it was.
fn moment(flag: &'static str, text: &str) -> Result<String, CliError> {
    let unit = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        'd' => Some(24 * 3600),
        _ => None,
    };
    let last = text.chars().next_back();
    let seconds = last.and_then(unit).and_then(|seconds: u64| {
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        number.checked_mul(seconds)?.checked_mul(SECOND_NS)
    });
    if let Some(ago) = seconds {
        let at = clock::now().nanoseconds.saturating_sub(ago);
        return Ok(Timestamp::from_nanoseconds(at).rfc3339());
    }
    let is_moment = text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z');
    if is_moment && text.is_ascii() {
        return Ok(text.to_owned());
    }
    let rule =
        "must be a time such as 2026-11-26T10:00:00Z, or a duration such as 90s, 30m, 4h, 7d".to_owned();
    Err(CliError::Argument { flag, rule, value: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_durations() {
        assert_eq!(moment("--since", "2026-11-26T10:00:00Z").unwrap(), "2026-11-26T10:00:00Z");
        assert!(moment("--since", "1d").unwrap() < moment("--since", "1h").unwrap());
        for text in ["", "h", "1w", "-1h", "yesterday", "99999999999999999999d", "день"] {
            assert!(moment("--since", text).is_err(), "{text}");
        }
    }
}
