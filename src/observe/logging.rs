//! Setting up the log: lines on standard error, as text or JSON.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Starts logging. `filter` is a directive such as `info` or `info,rookery::api=debug`. Does nothing if logging was
/// started before.
///
/// # Errors
/// [`ParseError`] if the filter is not one.
pub fn start(json: bool, filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first subscriber.
    let _ = if json { builder.json().try_init() } else { builder.with_ansi(false).try_init() };
    Ok(())
}
