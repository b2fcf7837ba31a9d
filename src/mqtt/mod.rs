//! The MQTT 3.1.1 protocol: bytes to borrowed packets, packets to bytes, topic names and filters.
//!
//! Protocol name `MQTT` level 4 is spoken, and `MQIsdp` level 3 as a superset (U-M1). Every violation
//! carries the number of the normative clause it breaks, and nothing here panics on any input.
//!
//! Invariants of absence:
//! * knows nothing of devices, registries, aliases, permissions, sockets, actors or time;
//! * decoding never allocates; encoding only appends to the buffer it is given;
//! * limits that depend on who speaks (payload size, filters per session, client identifier rules) are
//!   the caller's: this room offers the checks, the session applies them.
//!
//! A connection reads like this: [`frame::next_frame`] cuts one complete packet out of the received bytes,
//! [`packet::connect::decode_first`] accepts the first one, [`packet::decode_client_packet`] all others.

pub mod qos;
pub mod violation;

pub mod frame;
pub mod packet;

pub mod topic;

pub mod client_side;

mod field;

#[cfg(test)]
mod oracle_tests;
