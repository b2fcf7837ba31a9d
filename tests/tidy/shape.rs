//! Sizes, names and words that no file may have.

use crate::repository::{Finding, files, report, sources};

/// Lines of a file past which it does too much.
const LINES_MAX: usize = 600;
/// Names that say nothing about a file's job.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "common", "helpers", "misc"];
/// As [`EMPTY_NAMES`], in the root package only.
const EMPTY_NAMES_IN_ROOT: [&str; 1] = ["types"];
/// Macros that mark unfinished work.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Places on somebody's machine that mean nothing to a reader of the repository.
const MACHINE_PATHS: [&str; 4] = ["/work/", "../shared", "/home/", "/root/"];

/// Test files that may sleep: there the pause is the attack (a random moment), nothing waits by it.
const SLEEP_IS_THE_ATTACK: [&str; 1] = ["cluster/tests/replication/crash.rs"];

#[test]
fn files_are_short() {
    let long = sources().iter().map(|source| (source.text.lines().count(), &source.path));
    let long = long.filter(|(lines, _)| *lines > LINES_MAX);
    report(
        long.map(|(lines, path)| Finding::new(path, 0, format!("{lines} lines, at most {LINES_MAX}")))
            .collect(),
    );
}

#[test]
fn names_say_something() {
    let mut findings = Vec::new();
    for source in sources() {
        let in_root = source.path.starts_with("src/");
        let parts = source.path.trim_end_matches(".rs").split('/');
        for part in parts {
            if EMPTY_NAMES.contains(&part) || in_root && EMPTY_NAMES_IN_ROOT.contains(&part) {
                findings.push(Finding::new(&source.path, 0, format!("the name {part} says nothing")));
            }
        }
    }
    report(findings);
}

#[test]
fn imports_are_named() {
    let mut findings = Vec::new();
    for source in sources() {
        for path in source.paths.iter().filter(|path| path.segments.last().is_some_and(|it| it == "*")) {
            let in_test = path.in_test || source.is_test_file();
            if !(in_test && path.segments == ["super", "*"]) {
                let rule = format!("glob import {}", path.segments.join("::"));
                findings.push(Finding::new(&source.path, path.line, rule));
            }
        }
    }
    report(findings);
}

#[test]
fn nothing_is_left_undone_or_ignored() {
    let mut findings = Vec::new();
    for source in sources() {
        for (at, token) in source.tokens.iter().enumerate() {
            let after = source.tokens.get(at + 1).map_or("", |token| token.text.as_str());
            let before = at.checked_sub(1).map_or("", |at| source.tokens[at].text.as_str());
            if UNFINISHED.contains(&token.text.as_str()) && after == "!" {
                findings.push(Finding::new(
                    &source.path,
                    token.line,
                    format!("{}! in the repository", token.text),
                ));
            }
            let attribute = before == "[" && (after == "]" || after == "=" || after == "(");
            if attribute && (token.text == "ignore" || token.text == "should_panic") {
                findings.push(Finding::new(&source.path, token.line, format!("#[{}] on a test", token.text)));
            }
        }
    }
    report(findings);
}

#[test]
fn tests_do_not_sleep() {
    let mut findings = Vec::new();
    for source in sources() {
        let is_tool = source.path.starts_with("tests/harness/") || source.path.starts_with("tests/load/");
        if SLEEP_IS_THE_ATTACK.contains(&source.path.as_str()) {
            continue;
        }
        let is_test_file = source.is_test_file() && !is_tool;
        for (at, token) in source.tokens.iter().enumerate() {
            let is_call = source.tokens.get(at + 1).is_some_and(|token| token.text == "(");
            if token.text == "sleep" && is_call && (is_test_file || token.in_test) {
                findings.push(Finding::new(&source.path, token.line, "a test sleeps; wait for a condition"));
            }
        }
    }
    report(findings);
}

#[test]
fn no_place_on_a_machine_is_named() {
    let mut findings = Vec::new();
    let files = files(&[".rs", ".md", ".toml", ".json", ".yaml", ".yml", ".py", ".sh", ".proto"]);
    for file in files.iter().filter(|file| !file.path.starts_with("tests/tidy/")) {
        for (number, line) in file.text.lines().enumerate() {
            if let Some(place) = MACHINE_PATHS.iter().find(|place| line.contains(**place)) {
                findings.push(Finding::new(&file.path, number + 1, format!("names the place {place}")));
            }
        }
    }
    report(findings);
}
