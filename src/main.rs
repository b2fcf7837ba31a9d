//! The `rookery` binary.

use std::process::ExitCode;

/// Gives freed memory back soon, and frees what another thread allocated cheaply: messages cross threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rookery::run::main(&rookery::app::release())
}
