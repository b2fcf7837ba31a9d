//! This node's part of the answer to a question about the connection log.

use std::sync::Arc;

use rookery_proto::rookery::admin::v1::connection_log_record::Level as WireLevel;
use rookery_proto::rookery::admin::v1::{
    ConnectionLogRecord, ListConnectionLogRequest, ListConnectionLogResponse,
};

use crate::actors::environment::Environment;
use crate::api::convert::timestamp;
use crate::domain::timestamp::Timestamp;
use crate::observe::connection_log::{Level, Query, Record};

/// Reads the records of this node.
///
/// # Errors
/// Why the files cannot be read.
pub async fn list(
    environment: &Arc<Environment>,
    request: &ListConnectionLogRequest,
) -> Result<ListConnectionLogResponse, String> {
    let query = query(request);
    let log = environment.connection_log.clone();
    let reading = tokio::task::spawn_blocking(move || log.read(&query)).await;
    let records = reading.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let records = records.into_iter().map(record).collect();
    Ok(ListConnectionLogResponse { records, ..ListConnectionLogResponse::default() })
}

fn query(request: &ListConnectionLogRequest) -> Query {
    let levels = request.levels().filter_map(|level| match level {
        WireLevel::Unspecified => None,
        WireLevel::Info => Some(Level::Info),
        WireLevel::Warn => Some(Level::Warn),
        WireLevel::Error => Some(Level::Error),
    });
    Query {
        entity: request.entity_id.clone(),
        since_ns: request.since.as_ref().map_or(0, nanoseconds),
        until_ns: request.until.as_ref().map(nanoseconds),
        levels: levels.collect(),
        limit: usize::try_from(request.limit).unwrap_or_default(),
    }
}

fn nanoseconds(at: &prost_types::Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or_default();
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(at.nanos).unwrap_or_default())
}

fn record(record: Record) -> ConnectionLogRecord {
    let level = match record.level {
        Level::Info => WireLevel::Info,
        Level::Warn => WireLevel::Warn,
        Level::Error => WireLevel::Error,
    };
    ConnectionLogRecord {
        at: Some(timestamp(Timestamp::from_nanoseconds(record.at_ns))),
        level: level.into(),
        message: record.message,
        node: String::new(),
    }
}
