//! Black-box tests of a node through its public interface.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test, also outside of test functions")]

mod crash;
mod disk_full;
mod lifecycle;
mod register;
