//! Setting up the log: lines on standard error, as text or JSON; and changing at run time what is logged.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, reload};

/// Puts another filter in force.
type Reload = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// The log of this process, once it was started.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    filter: Mutex<String>,
    reload: Reload,
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

/// Starts logging. `filter` is a directive such as `info` or `info,rookery::api=debug`. Does nothing if logging was
/// started before.
///
/// # Errors
/// [`ParseError`] if the filter is not one.
pub fn start(json: bool, filter: &str) -> Result<(), ParseError> {
    let (filtering, handle) = reload::Layer::new(EnvFilter::try_new(filter)?);
    let subscriber = tracing_subscriber::registry().with(filtering);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    // A second start in one process (tests) keeps the first subscriber.
    let started =
        if json { subscriber.with(lines.json()).try_init() } else { subscriber.with(lines).try_init() };
    let started =
        started.is_ok().then(|| -> Reload { Box::new(move |filter| handle.reload(filter).is_ok()) });
    if let Some(reload) = started {
        LOG.get_or_init(|| Log { filter: Mutex::new(filter.to_owned()), reload });
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
