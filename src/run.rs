//! The edge of the program: reads the command line, runs one command, and says how it went by its exit code.
//!
//! 0 done · 1 failed · 2 wrong usage · 78 wrong configuration.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::app::{self, Signals};
use crate::cli::{self, Cli, Command};
use crate::config::{self, Config, LogFormat, Sources};
use crate::store::Release;
use crate::{demo, observe};

/// `EX_CONFIG` of `sysexits.h`.
const EXIT_CONFIGURATION: u8 = 78;

/// Does what the command line says, as this release.
pub fn main(release: &Release) -> ExitCode {
    let command_line = Cli::from_command_line();
    match &command_line.command {
        Command::Serve(arguments) => {
            let sources = Sources {
                file: arguments.config.clone(),
                flags: arguments.configuration(),
                environment: true,
            };
            match config::load(&sources) {
                Ok(config) => report(system().block_on(serve(&config, release))),
                Err(problems) => {
                    eprintln!("{problems}");
                    ExitCode::from(EXIT_CONFIGURATION)
                }
            }
        }
        Command::Demo(arguments) => {
            report(system().block_on(async { demo::run(arguments).await.context("the demo failed") }))
        }
        _ => report(system().block_on(async { Ok(cli::run(&command_line, release.formats).await?) })),
    }
}

fn system() -> actix_rt::SystemRunner {
    actix_rt::System::new()
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a node until it is told to stop.
async fn serve(config: &Config, release: &Release) -> anyhow::Result<()> {
    observe::logging::start(
        config.log.format == LogFormat::Json,
        &config.log.filter,
        config::collector_is_named(),
    )?;
    let mut signals = Signals::register().context("signals")?;
    // Reading a long log takes a while; a node that is not needed any more should not have to finish it.
    let node = tokio::select! {
        started = app::start(config, release) => started?,
        () = signals.wait() => return Ok(()),
    };
    announce(&node).context("standard output")?;
    signals.wait().await;
    signals.end_at_once();
    tracing::info!(grace_s = config.node.grace_period.as_secs(), "stopping");
    if !node.stop(config.node.grace_period).await {
        tracing::warn!("some connections did not end within the grace period");
    }
    // This thread carries the connection to the collector.
    #[cfg(feature = "otlp")]
    tokio::task::spawn_blocking(observe::otlp::shutdown).await.context("the last traces")?;
    Ok(())
}

/// One line per listener with its name and real address, then `ready`: tools wait for it.
fn announce(node: &app::Node) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    for (name, address) in node.listeners() {
        writeln!(output, "{name} {address}")?;
    }
    writeln!(output, "ready")?;
    output.flush()
}
