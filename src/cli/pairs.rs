//! `KEY=VALUE` lists of the command line: labels and topic aliases.

use std::collections::BTreeMap;

use super::error::CliError;

/// Reads pairs; a key that comes twice is an error.
pub fn parse(flag: &'static str, pairs: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let mut parsed = BTreeMap::new();
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        let error = |rule: &str| CliError::Argument { flag, rule: rule.to_owned(), value: pair.clone() };
        let (key, value) = pair.split_once('=').ok_or_else(|| error("must be a list of KEY=VALUE"))?;
        if key.is_empty() {
            return Err(error("must have a key before '='"));
        }
        if parsed.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(error("must name every key once"));
        }
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_split_at_the_first_sign() {
        let pairs = ["a=1".to_owned(), "b=x=y".to_owned(), "c=".to_owned()];
        let parsed = parse("--labels", &pairs).unwrap();
        assert_eq!(parsed.get("b").map(String::as_str), Some("x=y"));
        assert_eq!(parsed.get("c").map(String::as_str), Some(""));
        for bad in [&["a"][..], &["=1"], &["a=1", "a=2"]] {
            let bad: Vec<String> = bad.iter().map(|pair| (*pair).to_owned()).collect();
            assert!(parse("--labels", &bad).is_err(), "{bad:?}");
        }
    }
}
