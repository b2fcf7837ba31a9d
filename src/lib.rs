//! Rookery: a self-hosted, clustered MQTT broker for fleets of devices.
//!
//! The modules ("rooms") stand in reading order; each imports rooms of lower rank only (see ARCHITECTURE.md).

pub mod mqtt;

pub mod domain;

pub mod clock;
pub mod config;
pub mod observe;
pub mod verify;

pub mod store;

pub mod actors;

pub mod api;
pub mod net;
pub mod ops;

pub mod app;
pub mod cli;

pub mod demo;

pub mod run;
