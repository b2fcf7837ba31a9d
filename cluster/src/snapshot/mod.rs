//! Snapshots: the replica's state at one log position, in one file each.
//!
//! [`format`] is the layout of a file, [`store`] the directory of them. A file is complete or it does not have its
//! final name; the newest one decides where the log may begin, and a damaged newest one is an error for a person to
//! look at, never a reason to start with less.

pub(crate) mod format;
pub(crate) mod store;
