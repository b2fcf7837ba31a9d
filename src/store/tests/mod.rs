//! Tests of the store: the form of commands and snapshots, and the store as a whole over a directory.

mod commands;
mod restart;
mod sample;
mod sessions;
mod snapshots;
