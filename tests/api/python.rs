//! Runs Python with the interpreter that has `yandexcloud` installed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One run.
pub struct Python {
    command: Command,
}

/// How it ended, and what it wrote to both streams.
pub struct Report {
    pub success: bool,
    pub output: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Python {
    /// The interpreter is `ROOKERY_TEST_PYTHON`, by default the one that `tests/run` sets up.
    fn new() -> Self {
        let interpreter = env::var_os("ROOKERY_TEST_PYTHON")
            .map_or_else(|| root().join("tests/.venv/bin/python"), PathBuf::from);
        let mut command = Command::new(interpreter);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        Self { command }
    }

    /// Prepares `tests/api/<name>`.
    pub fn script(name: &str) -> Self {
        Self::new().argument(root().join("tests/api").join(name))
    }

    /// Prepares `python -m <name>`.
    pub fn module(name: &str) -> Self {
        Self::new().argument("-m").argument(name)
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Runs in a directory of the repository.
    pub fn directory(mut self, path: &str) -> Self {
        self.command.current_dir(root().join(path));
        self
    }

    /// Sets an environment variable.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
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
