//! The message path: every connection is an actor, every topic space is an actor, and messages flow between them
//! through lanes.
//!
//! In the order in which a publish meets them: [`connection`] decodes and checks, [`routes`] finds the subscribers,
//! [`lane`] carries the message to their outboxes and [`forward`] to other nodes, whose own messages [`peer`] takes.
//! [`registry`] opens sessions and changes subscriptions of one topic
//! [`space`], [`directory`] knows which are in use, [`observer`] reacts to what was applied to the catalog, [`tenure`]
//! sees sessions in and out of the log, [`fence`] drops the clients of a node that has lost its cluster.
//!
//! Invariants: no lock is held across an await; nothing here knows listeners, TLS or the public API; mailboxes carry
//! control only, and through [`post`].

pub mod activity;
pub mod authenticator;
pub mod close;
pub mod connection;
pub mod directory;
pub mod environment;
pub mod fence;
pub mod forward;
pub mod lane;
pub mod log;
pub mod observer;
pub mod own_node;
pub mod peer;
pub mod permanent;
pub mod post;
pub mod publisher;
pub mod registry;
pub mod reply;
pub mod routes;
pub mod slot;
pub mod space;
pub mod takeovers;
pub mod tenure;
pub mod traffic;
