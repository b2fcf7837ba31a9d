//! Who may import whom, and which words a room must not know.

use crate::repository::{Finding, Source, report, sources};
use crate::tokens::Path;

/// The rooms of `src/` by rank. A room imports rooms of lower rank only; equal ranks do not see each other.
/// (`run` is the edge of the program and `main` the binary's entry; both count as above all.)
const RANKS: [(usize, &[&str]); 9] = [
    (0, &["mqtt"]),
    (1, &["domain"]),
    (2, &["config", "clock", "observe", "verify"]),
    (3, &["store"]),
    (4, &["actors"]),
    (5, &["net", "api", "ops"]),
    (6, &["app", "cli"]),
    (7, &["demo"]),
    (8, &["main", "run"]),
];

/// Rooms that are pure: values in, values out.
const PURE: [&str; 2] = ["mqtt", "domain"];

/// What a pure room must not name, in test code neither.
const IMPURE: &[&str] = &[
    "actix",
    "actix_rt",
    "axum",
    "fjall",
    "futures",
    "log",
    "openraft",
    "prost",
    "prost_reflect",
    "prost_types",
    "rand",
    "ring",
    "rookery_cluster",
    "rookery_proto",
    "rustls",
    "socket2",
    "std::env",
    "std::fs",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "tempfile",
    "tokio",
    "tokio_rustls",
    "tokio_stream",
    "tonic",
    "tower",
    "tracing",
];

/// Words that a pure room must not use, wherever they come from.
const IMPURE_WORDS: &[&str] = &["async", "await", "println", "eprintln", "SystemTime"];

/// Crates of [`RESERVED`] that test code may use anywhere.
const FREE_IN_TESTS: &[&str] = &["anyhow", "rcgen", "std::env"];

/// Path prefixes that only some rooms may name, with the rooms. Packages stand by their folder.
const RESERVED: &[(&str, &[&str])] = &[
    ("openraft", &["cluster"]),
    ("fjall", &["cluster", "store"]),
    ("actix", &["actors", "app"]),
    ("actix_rt", &["actors", "app", "run", "instructions"]),
    ("anyhow", &["demo", "run", "harness", "instructions", "load", "suites"]),
    ("axum", &["api", "app", "ops"]),
    ("figment", &["config"]),
    ("rcgen", &["net", "cli", "demo", "harness", "load", "suites", "cluster"]),
    ("rookery", &["main", "fuzz", "instructions", "releases"]),
    ("rookery_cluster", &["store", "actors", "app", "api", "cluster", "instructions"]),
    ("rookery_harness", &["suites"]),
    ("rookery_proto", &["api", "store", "cli", "cluster", "app", "harness", "load", "suites"]),
    ("std::env", &["config", "cli", "demo", "main", "harness", "instructions", "load", "suites", "proto"]),
    ("tonic", &["api", "app", "cli", "cluster", "proto", "harness", "load", "suites"]),
    ("tonic_health", &["api", "app"]),
    ("tonic_reflection", &["api", "app"]),
];

#[test]
fn rooms_import_lower_rooms_only() {
    let mut findings = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else { continue };
        for path in &source.paths {
            if let Some(finding) = wrong_direction(source, &module, path) {
                findings.push(finding);
            }
        }
    }
    report(findings);
}

#[test]
fn every_room_has_a_rank() {
    let known = |room: &str| rank(room).is_some();
    let rooms = sources().iter().filter_map(|source| Some((source.module()?.first()?.clone(), &source.path)));
    let unknown = rooms.filter(|(room, _)| !known(room));
    report(unknown.map(|(room, path)| Finding::new(path, 0, format!("room {room} has no rank"))).collect());
}

#[test]
fn pure_rooms_know_nothing_of_the_world() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&place(source).as_str())) {
        let place = place(source);
        for path in &source.paths {
            if let Some(word) = IMPURE.iter().find(|word| names(path, word)) {
                findings.push(Finding::new(
                    &source.path,
                    path.line,
                    format!("{place} is pure and must not name {word}"),
                ));
            }
        }
        for token in source.tokens.iter().filter(|token| IMPURE_WORDS.contains(&token.text.as_str())) {
            let rule = format!("{place} is pure and must not use {}", token.text);
            findings.push(Finding::new(&source.path, token.line, rule));
        }
    }
    report(findings);
}

#[test]
fn only_the_clock_reads_the_time() {
    let mut findings = Vec::new();
    for source in sources() {
        let is_outside =
            source.path.starts_with("src/") && place(source) != "clock" && !source.is_test_file();
        for path in source.paths.iter().filter(|path| is_outside && !path.in_test) {
            // Tokio's instants follow its own, possibly paused, clock and serve its timers only.
            let reads = path.segments.ends_with(&["SystemTime".to_owned(), "now".to_owned()])
                || path.segments.ends_with(&["Instant".to_owned(), "now".to_owned()]);
            if reads && path.segments[0] != "tokio" {
                let rule = format!("{} outside of the clock room", path.segments.join("::"));
                findings.push(Finding::new(&source.path, path.line, rule));
            }
        }
    }
    report(findings);
}

#[test]
fn reserved_crates_stay_in_their_rooms() {
    let mut findings = Vec::new();
    for source in sources() {
        let place = place(source);
        for path in &source.paths {
            let in_test = path.in_test || source.is_test_file();
            for (word, rooms) in RESERVED {
                let allowed = rooms.contains(&place.as_str()) || in_test && FREE_IN_TESTS.contains(word);
                if !allowed && names(path, word) {
                    let rule = format!("{word} belongs in {}, not in {place}", rooms.join(", "));
                    findings.push(Finding::new(&source.path, path.line, rule));
                }
            }
        }
    }
    report(findings);
}

/// The published API, through which it makes devices, is no code of the product.
#[test]
fn the_load_generator_shares_no_code_with_the_product() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| place(source) == "load") {
        let is_ours = |crate_name: &str| crate_name.starts_with("rookery") && crate_name != "rookery_proto";
        for path in source.paths.iter().filter(|path| is_ours(&path.segments[0])) {
            let rule = format!("the load generator must not use {}", path.segments[0]);
            findings.push(Finding::new(&source.path, path.line, rule));
        }
    }
    report(findings);
}

fn rank(room: &str) -> Option<usize> {
    RANKS.iter().find(|(_, rooms)| rooms.contains(&room)).map(|(rank, _)| *rank)
}

/// The room of `src/`, or the package, or `suites`.
fn place(source: &Source) -> String {
    if let Some(module) = source.module() {
        let binary = if source.path == "src/lib.rs" { "lib" } else { "main" };
        return module.first().map_or(binary, String::as_str).to_owned();
    }
    let mut parts = source.path.split('/');
    match (parts.next(), parts.next()) {
        (Some("tests"), Some(package @ ("harness" | "instructions" | "load" | "fuzz" | "releases"))) => {
            package.to_owned()
        }
        (Some("tests"), _) => "suites".to_owned(),
        (Some(package), _) => package.to_owned(),
        (None, _) => String::new(),
    }
}

/// Whether a path begins with `word` (which may have several parts).
fn names(path: &Path, word: &str) -> bool {
    let words: Vec<_> = word.split("::").collect();
    path.segments.len() >= words.len()
        && path.segments.iter().zip(&words).all(|(segment, word)| segment == word)
}

/// The room that a path inside `src/` leads to, if it leads to one.
fn target(module: &[String], path: &Path) -> Option<String> {
    let place: Vec<_> = module.iter().chain(&path.inside).cloned().collect();
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let rest = match path.segments.first()?.as_str() {
        "crate" => &path.segments[1..],
        "super" if supers == place.len() => &path.segments[supers..],
        _ => return None,
    };
    rest.first().cloned()
}

fn wrong_direction(source: &Source, module: &[String], path: &Path) -> Option<Finding> {
    let room = module.first()?;
    let target = target(module, path)?;
    let (from, to) = (rank(room)?, rank(&target)?);
    if *room == target || to < from {
        return None;
    }
    let rule = format!("{room} (rank {from}) must not import {target} (rank {to})");
    Some(Finding::new(&source.path, path.line, rule))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::{paths, tokens};

    fn check(path: &str, text: &str) -> Vec<String> {
        let tokens = tokens(text);
        let paths = paths(&tokens);
        let source = Source { path: path.to_owned(), text: text.to_owned(), tokens, paths };
        let module = source.module().unwrap();
        let found = source.paths.iter().filter_map(|path| wrong_direction(&source, &module, path));
        found.map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn upward_and_sideward_imports_are_found_in_every_spelling() {
        let text = "use crate::{mqtt::Name, actors::Lane};\nfn f() { crate::api::g() }\n// use crate::cli;\n";
        let rule = "src/store/mod.rs:1: store (rank 3) must not import actors (rank 4)";
        assert_eq!(
            check("src/store/mod.rs", text),
            [rule, "src/store/mod.rs:2: store (rank 3) must not import api (rank 5)"]
        );
        assert_eq!(check("src/net/a.rs", "use super::super::api::X;").len(), 1);
        assert_eq!(check("src/net/a.rs", "use super::api::X; use crate::actors::Y;"), Vec::<String>::new());
        assert_eq!(check("src/net/a.rs", "mod b { use super::super::super::api::X; }").len(), 1);
    }
}
