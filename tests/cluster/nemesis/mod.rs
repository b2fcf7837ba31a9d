//! Breaks nodes, by a schedule that a seed decides.

mod runner;
mod schedule;

pub use runner::Nemesis;
pub use schedule::{Limits, schedule};
