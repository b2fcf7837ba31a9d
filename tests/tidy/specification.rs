//! The specification's numbers: every topic case has its test, every undocumented choice its line in the docs.

use std::collections::BTreeSet;

use crate::repository::{Finding, files, report, sources};

/// Topic cases of the specification.
const TOPIC_CASES: std::ops::RangeInclusive<u32> = 1..=158;

/// Behaviours that nobody outside the original service knows, by subject: each is a choice of ours.
const UNDOCUMENTED: [(char, u32); 6] = [('A', 12), ('D', 9), ('I', 9), ('M', 14), ('P', 10), ('T', 24)];

/// Where the choices are listed.
const COMPATIBILITY: &str = "docs/compatibility.md";

#[test]
fn every_topic_case_has_a_test_with_its_number() {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("tests/topics/")) {
        for token in &source.tokens {
            let Some(number) = case_number(&token.text) else { continue };
            if TOPIC_CASES.contains(&number) {
                seen.insert(number);
            } else {
                findings.push(Finding::new(
                    &source.path,
                    token.line,
                    format!("there is no topic case {number}"),
                ));
            }
        }
    }
    let missing: Vec<_> = TOPIC_CASES.filter(|number| !seen.contains(number)).collect();
    if !missing.is_empty() {
        let rule = format!("no test is named case_NNN_… for the cases {missing:?}");
        findings.push(Finding::new("tests/topics", 0, rule));
    }
    report(findings);
}

/// The number in `case_NNN_…`.
fn case_number(word: &str) -> Option<u32> {
    let (digits, rest) = word.strip_prefix("case_")?.split_at_checked(3)?;
    if rest.starts_with('_') { digits.parse().ok() } else { None }
}

#[test]
fn every_undocumented_choice_is_listed_with_its_state() {
    let listed = files(&["compatibility.md"]).into_iter().find(|file| file.path == COMPATIBILITY);
    let Some(listed) = listed else {
        return report(vec![Finding::new(COMPATIBILITY, 0, "missing; it lists every U-… id and its state")]);
    };
    let cited: String = sources()
        .iter()
        .filter(|it| !it.path.starts_with("tests/tidy/"))
        .map(|it| it.text.as_str())
        .collect();
    let mut findings = Vec::new();
    for id in undocumented() {
        let row =
            listed.text.lines().enumerate().find(|(_, line)| line.starts_with('|') && mentions(line, &id));
        let Some((number, row)) = row else {
            findings.push(Finding::new(COMPATIBILITY, 0, format!("no row for {id}")));
            continue;
        };
        let row = row.to_lowercase();
        let is_implemented = row.contains("implemented");
        let is_open = !is_implemented && (row.contains("deferred") || row.contains("not applicable"));
        if !is_open && !is_implemented {
            let rule = format!("{id} is neither implemented, nor deferred, nor not applicable");
            findings.push(Finding::new(COMPATIBILITY, number + 1, rule));
        }
        if is_implemented && !mentions(&cited, &id) {
            let rule = format!("{id} is implemented, but no source file cites it");
            findings.push(Finding::new(COMPATIBILITY, number + 1, rule));
        }
    }
    report(findings);
}

fn undocumented() -> Vec<String> {
    let of = |(subject, count): (char, u32)| (1..=count).map(move |number| format!("U-{subject}{number}"));
    UNDOCUMENTED.into_iter().flat_map(of).collect()
}

/// Whether `text` has `id` and not merely a longer id that begins with it.
fn mentions(text: &str, id: &str) -> bool {
    text.match_indices(id)
        .any(|(at, _)| !text[at + id.len()..].starts_with(|next: char| next.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_case_numbers_are_not_mixed_up() {
        assert!(mentions("see U-T1, U-T12", "U-T1") && !mentions("U-T12", "U-T1"));
        assert_eq!(undocumented().len(), 78);
        assert_eq!(case_number("case_014_device_topic"), Some(14));
        assert_eq!(case_number("case_14_device_topic"), None);
    }
}
