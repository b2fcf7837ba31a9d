//! Runs one fixed workload of the hot path in memory: `hot-path WORKLOAD`. Without an argument it lists the workloads
//! with the number of messages of each.
//!
//! It is made to run under an instrument that counts instructions (`tests/instructions.rs`): one thread does all the
//! work, no socket and no disk takes part, and nothing but [`measured`] is to be counted.

mod client;
mod workloads;
mod world;

use std::process::ExitCode;

use workloads::{WORKLOADS, Workload};
use world::World;

/// That of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for workload in WORKLOADS {
            println!("{} {}", workload.name, workload.messages);
        }
        return ExitCode::SUCCESS;
    };
    let Some(workload) = WORKLOADS.iter().find(|workload| workload.name == name) else {
        eprintln!("there is no workload {name:?}; without an argument they are listed");
        return ExitCode::from(2);
    };
    match run(workload) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(workload: &Workload) -> anyhow::Result<()> {
    let system = actix_rt::System::new();
    let mut prepared = system.block_on(async {
        let world = World::new().await?;
        let mut prepared = (workload.prepare)(world).await?;
        // What is made once (buffers, routes, windows) is made now.
        prepared.round().await?;
        anyhow::Ok(prepared)
    })?;
    measured(&system, prepared.as_mut())
}

/// The counted part: one round of the workload. The instrument knows it by its name.
#[inline(never)]
fn measured(system: &actix_rt::SystemRunner, prepared: &mut dyn workloads::Round) -> anyhow::Result<()> {
    system.block_on(prepared.round())
}
