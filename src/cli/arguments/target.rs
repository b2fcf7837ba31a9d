//! How resources are named on the command line.

use clap::Args;

/// One way to name a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By id.
    Id(String),
    /// By name, within its folder or registry.
    Name(String),
    /// Either; an id is tried first.
    Either(String),
}

/// Names one resource: positionally, or by `--id` or `--name`.
#[derive(Args, Clone, Debug)]
pub struct Target {
    /// Name or id
    #[arg(value_name = "NAME|ID", required_unless_present_any = ["id", "name"])]
    name_or_id: Option<String>,
    /// Id
    #[arg(long, conflicts_with_all = ["name_or_id", "name"])]
    id: Option<String>,
    /// Name
    #[arg(long, conflicts_with = "name_or_id")]
    name: Option<String>,
}

impl Target {
    /// The one resource.
    pub fn reference(&self) -> Reference {
        let by_name = self.name.clone().map(Reference::Name);
        let positional = || Reference::Either(self.name_or_id.clone().unwrap_or_default());
        self.id.clone().map(Reference::Id).or(by_name).unwrap_or_else(positional)
    }
}

/// Names one resource or several.
#[derive(Args, Clone, Debug)]
pub struct Targets {
    /// Names or ids
    #[arg(value_name = "NAME|ID", required_unless_present_any = ["id", "name"])]
    names_or_ids: Vec<String>,
    /// Id
    #[arg(long, conflicts_with_all = ["names_or_ids", "name"])]
    id: Option<String>,
    /// Name
    #[arg(long, conflicts_with = "names_or_ids")]
    name: Option<String>,
}

impl Targets {
    /// The resources, in the order given; never empty.
    pub fn references(&self) -> Vec<Reference> {
        let by_id = self.id.iter().cloned().map(Reference::Id);
        let by_name = self.name.iter().cloned().map(Reference::Name);
        let positional = self.names_or_ids.iter().cloned().map(Reference::Either);
        by_id.chain(by_name).chain(positional).collect()
    }
}

/// A resource that owns what the command is about, named by flags of its kind.
pub trait Owner: Args + Clone {
    /// The owner.
    fn reference(&self) -> Reference;
}

/// `--registry-id` or `--registry-name`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct RegistryOwner {
    /// Id of the registry
    #[arg(long)]
    registry_id: Option<String>,
    /// Name of the registry
    #[arg(long)]
    registry_name: Option<String>,
}

/// `--device-id` or `--device-name`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct DeviceOwner {
    /// Id of the device
    #[arg(long)]
    device_id: Option<String>,
    /// Name of the device
    #[arg(long)]
    device_name: Option<String>,
}

/// `--broker-id` or `--broker-name`.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
pub struct BrokerOwner {
    /// Id of the broker
    #[arg(long)]
    broker_id: Option<String>,
    /// Name of the broker
    #[arg(long)]
    broker_name: Option<String>,
}

/// The reference in two flags of which exactly one is given.
fn one_of(id: Option<&String>, name: Option<&String>) -> Reference {
    let by_name = || Reference::Name(name.cloned().unwrap_or_default());
    id.cloned().map_or_else(by_name, Reference::Id)
}

impl Owner for RegistryOwner {
    fn reference(&self) -> Reference {
        one_of(self.registry_id.as_ref(), self.registry_name.as_ref())
    }
}

impl Owner for DeviceOwner {
    fn reference(&self) -> Reference {
        one_of(self.device_id.as_ref(), self.device_name.as_ref())
    }
}

impl Owner for BrokerOwner {
    fn reference(&self) -> Reference {
        one_of(self.broker_id.as_ref(), self.broker_name.as_ref())
    }
}
