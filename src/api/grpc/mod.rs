//! The services, one file each. A handler accepts the call, reads or changes the catalog, and answers; what they
//! all do is in [`call`].

pub mod backup;
pub mod broker;
pub mod broker_data;
pub mod call;
pub mod cluster;
pub mod connection_log;
pub mod device;
pub mod device_data;
pub mod node;
pub mod operation;
pub mod operation_filter;
pub mod owned;
pub mod registry;
pub mod registry_data;
pub mod session;
pub mod space;
pub mod token;
