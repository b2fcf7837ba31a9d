//! Rookery: a self-hosted, clustered MQTT broker for fleets of devices.
//!
//! The modules ("rooms") stand in reading order; each imports rooms of lower rank only (see ARCHITECTURE.md).

pub mod mqtt;

pub mod domain;

pub mod verify;

pub mod net;
