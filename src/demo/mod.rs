//! `rookery demo`: a node in a temporary directory, a registry with two devices, and real TLS clients that exchange
//! telemetry and a command.
//!
//! Everything goes through the front doors: the API with the administrator's token, and MQTT over TLS with a
//! certificate and with passwords. Nothing here touches the inside of the node.

mod fleet;
mod story;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::app::{self, Node};
use crate::cli::arguments::server::DemoArguments;
use crate::cli::arguments::{ClientArguments, Format};
use crate::cli::error::CliError;
use crate::config::{Config, Flags, Problems, Sources, load};
use fleet::Fleet;

/// Why the demo failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The temporary directory or standard output.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The configuration of the demo's node.
    #[error(transparent)]
    Configuration(#[from] Problems),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] app::StartError),
    /// A client failed.
    #[error(transparent)]
    Client(#[from] CliError),
    /// A certificate could not be made.
    #[error("certificate of the demo's device: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A message did not arrive.
    #[error("{0} did not arrive within {1} s")]
    NotDelivered(&'static str, u64),
}

impl DemoError {
    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// Runs the demo: to the end of the story with `--once`, otherwise until interrupted.
///
/// # Errors
/// [`DemoError`]. The node is stopped and its directory removed in either case.
pub async fn run(arguments: &DemoArguments) -> Result<(), DemoError> {
    let mut signals = app::Signals::register().map_err(DemoError::system("signals"))?;
    let directory = tempfile::tempdir().map_err(DemoError::system("temporary directory"))?;
    let config = configuration(&directory.path().join("data"))?;
    say("Starting a node in a temporary directory …")?;
    let node = Box::pin(app::start(&config, &app::release())).await?;
    let result = tokio::select! {
        result = perform(arguments, &config, &node) => result,
        () = signals.wait() => Ok(()),
    };
    signals.end_at_once();
    Box::pin(node.stop(config.node.grace_period)).await;
    result
}

fn configuration(data_dir: &Path) -> Result<Config, Problems> {
    let free_port = || Some("127.0.0.1:0".to_owned());
    let flags = Flags {
        data_dir: Some(data_dir.display().to_string()),
        mqtts: free_port(),
        api: free_port(),
        ops: free_port(),
        peer: Some("off".to_owned()),
        ..Flags::default()
    };
    load(&Sources { flags, ..Sources::default() })
}

async fn perform(arguments: &DemoArguments, config: &Config, node: &Node) -> Result<(), DemoError> {
    let address = |wanted: &str| {
        node.listeners()
            .iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, address)| *address)
            .expect("it is configured")
    };
    let (mqtts, api) = (address("mqtts"), address("api"));
    let client = client_arguments(config, api);
    say(&format!("  MQTT over TLS at {mqtts}, API at {api}"))?;
    let fleet = Fleet::create(&client, &config.node.data_dir).await?;
    fleet.introduce()?;
    story::tell(&client, mqtts, &fleet).await?;
    if arguments.once {
        return say("Everything was delivered.");
    }
    say(&fleet.commands_to_paste(&config.node.data_dir, mqtts, api))?;
    std::future::pending().await
}

fn client_arguments(config: &Config, api: SocketAddr) -> ClientArguments {
    ClientArguments {
        endpoint: Some(api.to_string()),
        token_file: None,
        ca_file: None,
        tls_name: None,
        data_dir: Some(config.node.data_dir.clone()),
        folder_id: "demo".into(),
        format: Format::Text,
        retry: 3,
    }
}

fn say(line: &str) -> Result<(), DemoError> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{line}").and_then(|()| output.flush()).map_err(DemoError::system("standard output"))
}
