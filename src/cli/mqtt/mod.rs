//! `rookery mqtt`: a small MQTT client. [`connection`] opens a session, [`publish`] and [`subscribe`]
//! use it.

pub mod connection;
pub mod publish;
pub mod subscribe;
