//! `rookery serve` and `rookery demo`. A value that is absent here comes from the environment, the
//! configuration file or the defaults, in this order.

use std::path::PathBuf;

use clap::Args;

use crate::config::Flags;

/// Run a node
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = "On the first start the data directory gets a private CA (pki/ca.pem), a server \
certificate and an administrator's token (admin.token).\n\n\
Example:\n  rookery serve --data-dir ./data\n  rookery --data-dir ./data registry create my-registry")]
pub struct ServeArguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for everything the node stores
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Name of this node, unique in the cluster
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// MQTT over TLS [default: 0.0.0.0:8883]
    #[arg(long, value_name = "ADDR")]
    pub mqtts: Option<String>,
    /// MQTT without TLS [default: off]
    #[arg(long, value_name = "ADDR")]
    pub mqtt: Option<String>,
    /// gRPC API, TLS [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR")]
    pub api: Option<String>,
    /// Metrics and health over HTTP [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub ops: Option<String>,
    /// Traffic between nodes, mutual TLS [default: 127.0.0.1:8550; a node alone does without if that is taken]
    #[arg(long, value_name = "ADDR")]
    pub peer: Option<String>,
    /// Address at which other nodes reach this one [default: the address of --peer]
    #[arg(long, value_name = "HOST:PORT")]
    pub advertise_peer: Option<String>,
    /// Nodes of the cluster to join; counts on the first start
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    pub join: Option<Vec<String>>,
    /// Voters with which a new cluster begins: 1, 3 or 5; counts on the first start
    #[arg(long, value_name = "N")]
    pub expect_voters: Option<u32>,
    /// File with the secret that admits nodes to the cluster [default: <DATA_DIR>/join.secret, made on the first start]
    #[arg(long, value_name = "FILE")]
    pub join_secret_file: Option<PathBuf>,
    /// File with the administrator's token [default: <DATA_DIR>/admin.token, made on the first start]
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Server certificate chain (PEM) [default: made from a private CA on the first start]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the server certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
}

impl ServeArguments {
    /// The flags that were given, for the configuration, which checks them.
    pub fn configuration(&self) -> Flags {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        Flags {
            data_dir: path(&self.data_dir),
            node_name: self.node_name.clone(),
            mqtts: self.mqtts.clone(),
            mqtt: self.mqtt.clone(),
            api: self.api.clone(),
            ops: self.ops.clone(),
            admin_token_file: path(&self.admin_token_file),
            tls_cert: path(&self.tls_cert),
            tls_key: path(&self.tls_key),
            peer: self.peer.clone(),
            advertise_peer: self.advertise_peer.clone(),
            join: self.join.clone(),
            expect_voters: self.expect_voters,
            join_secret_file: path(&self.join_secret_file),
        }
    }
}

/// Try everything out: a node in a temporary directory, with devices that exchange messages
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArguments {
    /// End as soon as all messages were delivered
    #[arg(long)]
    pub once: bool,
}
