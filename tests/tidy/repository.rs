//! The files of the repository and what is found in them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use crate::tokens::{self, Token};

/// Folders that hold nothing of ours.
const SKIPPED: [&str; 5] = ["target", ".git", ".venv", ".cache", "node_modules"];

/// A broken rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    rule: String,
}

impl Finding {
    /// A finding; `line` 0 means the file as a whole.
    pub fn new(path: &str, line: usize, rule: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, rule: rule.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(formatter, "{}: {}", self.path, self.rule),
            line => write!(formatter, "{}:{line}: {}", self.path, self.rule),
        }
    }
}

/// Fails the test with one line for each finding.
pub fn report(mut findings: Vec<Finding>) {
    findings.sort();
    findings.dedup();
    let lines: Vec<_> = findings.iter().map(Finding::to_string).collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

/// A file with its path relative to the repository's root, `/` between its parts.
#[derive(Debug)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// A Rust source file.
#[derive(Debug)]
pub struct Source {
    /// Its path.
    pub path: String,
    /// Its content.
    pub text: String,
    /// Its words.
    pub tokens: Vec<Token>,
    /// Its paths.
    pub paths: Vec<tokens::Path>,
}

/// The repository's root. Cargo sets the variable for a test run, and at compile time for a run by hand.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}

/// All files whose names end in one of `extensions`.
pub fn files(extensions: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    collect(&root(), "", extensions, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn collect(folder: &Path, prefix: &str, extensions: &[&str], files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder of the repository can be listed") {
        let entry = entry.expect("a folder of the repository can be listed");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type().expect("an entry has a type");
        if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{path}/"), extensions, files);
        } else if kind.is_file() && extensions.iter().any(|extension| name.ends_with(extension)) {
            let text = fs::read_to_string(entry.path()).expect("a text file is UTF-8");
            files.push(File { path, text });
        }
    }
}

/// All Rust sources, read once for all tests.
pub fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let source = |File { path, text }| {
            let tokens = tokens::tokens(&text);
            let paths = tokens::paths(&tokens);
            Source { path, text, tokens, paths }
        };
        files(&[".rs"]).into_iter().map(source).collect()
    });
    &SOURCES
}

impl Source {
    /// The module path inside `src/`, empty for the crate's root; `None` for files of other packages and suites.
    pub fn module(&self) -> Option<Vec<String>> {
        let inner = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut module: Vec<_> = inner.split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        if module.len() == 1 && (module[0] == "lib" || module[0] == "main") {
            module.clear();
        }
        Some(module)
    }

    /// Whether the whole file is test code: a suite, or a child file of tests.
    pub fn is_test_file(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        let is_suite = self.path.starts_with("tests/") || self.path.contains("/tests/");
        is_suite || name == "tests.rs" || name.ends_with("_tests.rs")
    }
}
