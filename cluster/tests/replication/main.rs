//! Black-box tests of a node through its public interface.

mod crash;
mod disk_full;
mod lifecycle;
mod register;
