//! A Rust source file as words with line numbers: comments and literals are gone, test code is marked.

/// One word or punctuation mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// An identifier, `::`, or a single character.
    pub text: String,
    /// Counts from 1.
    pub line: usize,
    /// Stands in an item under `#[cfg(test)]`.
    pub in_test: bool,
}

/// Splits a source file. Lifetimes lose their tick; literals vanish.
pub fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (number, line) in blank(source).lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_word = |character: char| character.is_alphanumeric() || character == '_';
            let length = match first {
                _ if is_word(first) => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            tokens.push(Token { text: rest[..length].to_owned(), line: number + 1, in_test: false });
            rest = rest[length..].trim_start();
        }
    }
    mark_tests(&mut tokens);
    tokens
}

/// Replaces comments and the inside of literals by spaces; line breaks stay.
pub fn blank(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        if end == at {
            at += 1;
            continue;
        }
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Where the comment or literal that begins at `at` ends; `at` when none begins there.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => at + find(rest, b"\n").unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_end(bytes, at),
        [b'"', ..] => quoted_end(bytes, at),
        [b'b' | b'c', b'"', ..] if !after_word => quoted_end(bytes, at + 1),
        [b'r', b'"' | b'#', ..] if !after_word => raw_end(bytes, at, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !after_word => raw_end(bytes, at, 2),
        [b'\'', b'\\', ..] => at + 3 + find(&rest[3..], b"'").map_or(0, |length| length + 1),
        [b'\'', ..] => character_end(bytes, at),
        _ => at,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let mut depth = 0;
    let mut at = start;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn quoted_end(bytes: &[u8], quote: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_end(bytes: &[u8], at: usize, prefix: usize) -> usize {
    let hashes = bytes[at + prefix..].iter().take_while(|byte| **byte == b'#').count();
    let open = at + prefix + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    find(&bytes[open + 1..], &close).map_or(bytes.len(), |length| open + 1 + length + close.len())
}

/// A tick opens a character when another tick follows after one character; otherwise it is a lifetime.
fn character_end(bytes: &[u8], at: usize) -> usize {
    let rest = std::str::from_utf8(&bytes[at + 1..]).unwrap_or_default();
    let Some(character) = rest.chars().next() else { return at };
    let length = character.len_utf8();
    if rest[length..].starts_with('\'') { at + length + 2 } else { at }
}

/// Marks each item that follows `#[cfg(test)]`, to its closing brace or semicolon.
fn mark_tests(tokens: &mut [Token]) {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]"];
    for start in 0..tokens.len() {
        let window = tokens[start..].iter().take(attribute.len()).map(|token| token.text.as_str());
        if !window.eq(attribute) {
            continue;
        }
        let mut depth = 0usize;
        for token in &mut tokens[start + attribute.len()..] {
            token.in_test = true;
            match token.text.as_str() {
                "{" => depth += 1,
                "}" if depth <= 1 => break,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => {}
            }
        }
    }
}

/// A path as written, `crate::mqtt::topic::Name`; a glob ends in `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Its words.
    pub segments: Vec<String>,
    /// Line of its last word.
    pub line: usize,
    /// Stands in an item under `#[cfg(test)]`.
    pub in_test: bool,
    /// Names of the inline modules around it.
    pub inside: Vec<String>,
}

/// All paths of a file, of imports (each branch of a tree by itself) and of expressions and types. Single words
/// outside imports are left out.
pub fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut paths = Vec::new();
    let mut modules: Vec<(String, usize)> = Vec::new();
    let (mut at, mut depth) = (0, 0usize);
    while at < tokens.len() {
        let inside = || modules.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        match tokens[at].text.as_str() {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                modules.retain(|(_, opened)| *opened < depth + 1);
            }
            "mod" if tokens.get(at + 2).is_some_and(|token| token.text == "{") => {
                modules.push((tokens[at + 1].text.clone(), depth + 1));
            }
            // `use<'a>` in a return type captures, it does not import.
            "use" if !next_is(tokens, at, "<") => {
                at = tree(tokens, at + 1, &[], &inside(), &mut paths);
                continue;
            }
            word if is_word(word) && next_is(tokens, at, "::") => {
                let mut segments = vec![word.to_owned()];
                while next_is(tokens, at, "::") && tokens.get(at + 2).is_some_and(|it| is_word(&it.text)) {
                    at += 2;
                    segments.push(tokens[at].text.clone());
                }
                let token = &tokens[at];
                paths.push(Path { segments, line: token.line, in_test: token.in_test, inside: inside() });
                if next_is(tokens, at, "::") {
                    at += 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    paths
}

fn is_word(text: &str) -> bool {
    text.starts_with(|character: char| character.is_alphabetic() || character == '_')
}

fn next_is(tokens: &[Token], at: usize, text: &str) -> bool {
    tokens.get(at + 1).is_some_and(|token| token.text == text)
}

/// Reads one branch of an import tree that begins at `at`; returns where it ends.
fn tree(
    tokens: &[Token],
    mut at: usize,
    before: &[String],
    inside: &[String],
    paths: &mut Vec<Path>,
) -> usize {
    let mut segments = before.to_vec();
    let mut has_branches = false;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            ";" | "}" | "," => break,
            "::" => {}
            "as" => at += 1,
            "{" => {
                has_branches = true;
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = tree(tokens, at, &segments, inside, paths);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
            }
            word => segments.push(word.to_owned()),
        }
        at += 1;
    }
    if !has_branches && let Some(token) = tokens.get(at.saturating_sub(1)) {
        let inside = inside.to_vec();
        paths.push(Path { segments, line: token.line, in_test: token.in_test, inside });
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> String {
        tokens(source).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
    }

    fn seen(source: &str) -> Vec<String> {
        paths(&tokens(source)).into_iter().map(|path| path.segments.join("::")).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let source = "a /* x /* y */ z */ b // tokio\n\"std::fs \\\" q\" c r#\"a\"b\"# d b\"x\" e '\\'' f '\"' g 'h' <'i>";
        assert_eq!(words(source), "a b c d e f g < ' i >");
    }

    #[test]
    fn an_import_tree_is_its_branches() {
        let source =
            "use crate::{mqtt::{Name, topic::*}, domain as d, store}; use a::b; fn f() { x::y::<Z>(); }";
        let expected =
            ["crate::mqtt::Name", "crate::mqtt::topic::*", "crate::domain", "crate::store", "a::b", "x::y"];
        assert_eq!(seen(source), expected);
    }

    #[test]
    fn test_items_and_inline_modules_are_known() {
        let source = "use a::b;\n#[cfg(test)]\nmod tests {\n use super::*;\n fn f() { g::h() }\n}\nuse c::d;";
        let found = paths(&tokens(source));
        let marks: Vec<_> = found.iter().map(|path| (path.line, path.in_test, path.inside.len())).collect();
        assert_eq!(marks, [(1, false, 0), (4, true, 1), (5, true, 1), (7, false, 0)]);
    }
}
