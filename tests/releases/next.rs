//! The release after this one, as far as a cluster can tell: it has another version and writes one more format.

use std::process::ExitCode;

use rookery::store::{Formats, Release};

fn main() -> ExitCode {
    let this = rookery::app::release();
    let version = format!("{}-next", this.version);
    let formats = Formats::new(this.formats.oldest(), this.formats.newest() + 1);
    rookery::run::main(&Release { version, formats })
}
