//! Passwords made by us (`--generate-password`).

use rand::Rng as _;
use zeroize::Zeroizing;

/// Characters of generated passwords: no look-alikes (`0O1lI`), and only specials that need no quoting
/// in shells, URLs, YAML and C strings.
const ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789-_.";

/// Length of generated passwords: 24 characters of 60 are 141 bits.
const CHARACTERS: usize = 24;

/// A random password that satisfies the password policy with all four character groups.
pub fn password() -> Zeroizing<String> {
    let mut random = rand::rng();
    loop {
        let mut text = Zeroizing::new(String::with_capacity(CHARACTERS));
        for _ in 0..CHARACTERS {
            text.push(char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
        }
        let all_groups = text.bytes().any(|byte| byte.is_ascii_lowercase())
            && text.bytes().any(|byte| byte.is_ascii_uppercase())
            && text.bytes().any(|byte| byte.is_ascii_digit())
            && text.bytes().any(|byte| byte.is_ascii_punctuation());
        // A leading '-' looks like a flag. About half of all candidates pass.
        if all_groups && !text.starts_with('-') {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_differ_and_use_all_groups() {
        let (first, second) = (password(), password());
        assert_ne!(first, second);
        assert_eq!(first.len(), CHARACTERS);
        assert!(first.bytes().any(|byte| byte.is_ascii_punctuation()));
    }
}
