//! Setting up the log: lines on standard error, as text or JSON; and changing at run time what is logged.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

use super::traces;

/// Puts another filter in force.
type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The log of this process, once it was started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    filter: Mutex<String>,
    reload: Reload,
}

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The filter is not one.
    #[error("log.filter: {0}")]
    Filter(#[from] ParseError),
    /// The variables for the collector of traces make no sense.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_*: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// Why a filter was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// It is not a filter.
    #[error("log filter: {0}")]
    Invalid(#[from] ParseError),
    /// The log belongs to somebody else, or was never started.
    #[error("log filter: the log of this process cannot be changed")]
    NotOurs,
}

/// Starts logging. `filter` is a directive such as `info` or `info,rookery::api=debug`. Spans go to the collector
/// of the environment if there is one. Does nothing if logging was started before. Must be called on a tokio runtime.
///
/// # Errors
/// [`StartError`], which says what makes no sense.
pub fn start(json: bool, filter: &str, has_collector: bool) -> Result<(), StartError> {
    let (filtering, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let is_line =
        filter_fn(|metadata| metadata.target() != traces::TARGET).with_max_level_hint(LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    let subscriber = tracing_subscriber::registry().with(lines.with_filter(filtering.and(is_line)));
    #[cfg(feature = "otlp")]
    let subscriber = subscriber.with(has_collector.then(super::otlp::layer).transpose()?);
    // A second start in one process (tests) keeps the first subscriber.
    let started = subscriber.try_init();
    let started =
        started.is_ok().then(|| -> Reload { Box::new(move |filter| handle.reload(filter).is_ok()) });
    if let Some(reload) = started {
        LOG.get_or_init(|| Log { filter: Mutex::new(filter.to_owned()), reload });
    }
    #[cfg(not(feature = "otlp"))]
    if has_collector {
        tracing::warn!("a collector of traces is named, but this program was built without the feature otlp");
    }
    Ok(())
}

/// Changes what is logged from now on.
///
/// # Errors
/// [`FilterError`]; the filter before stays in force.
pub fn set_filter(filter: &str) -> Result<(), FilterError> {
    let parsed = EnvFilter::try_new(filter)?;
    let log = LOG.get().ok_or(FilterError::NotOurs)?;
    let mut current = log.filter.lock();
    if !(log.reload)(parsed) {
        return Err(FilterError::NotOurs);
    }
    filter.clone_into(&mut current);
    Ok(())
}

/// What is logged now.
pub fn filter() -> String {
    LOG.get().map(|log| log.filter.lock().clone()).unwrap_or_default()
}
