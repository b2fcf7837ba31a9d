//! Runs the Python scripts beside this file with an interpreter that has `yandexcloud` installed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One run of a script.
pub struct Python {
    command: Command,
}

/// How it ended, and what it wrote to both streams.
pub struct Report {
    pub success: bool,
    pub output: String,
}

impl Python {
    /// Prepares `tests/api/<name>`. The interpreter is `ROOKERY_TEST_PYTHON`, by default the one
    /// that `tests/run` sets up.
    pub fn script(name: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let interpreter = env::var_os("ROOKERY_TEST_PYTHON")
            .map_or_else(|| root.join("tests/.venv/bin/python"), PathBuf::from);
        let mut command = Command::new(interpreter);
        command.arg(root.join("tests/api").join(name));
        Self { command }
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Runs to the end.
    pub fn run(mut self) -> Report {
        let output = self.command.output().unwrap_or_else(|error| {
            panic!("{:?} does not start ({error}); tests/run sets it up", self.command.get_program())
        });
        let text = [output.stdout, output.stderr].concat();
        Report { success: output.status.success(), output: String::from_utf8_lossy(&text).into_owned() }
    }
}
