//! Pages of listings: size, order and the opaque token (U-P3).
//!
//! Every listing is ordered by creation time, then id. A token names the last entry that was shown, so inserts and
//! deletions between two calls neither repeat nor skip an entry that exists throughout.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::domain::timestamp::Timestamp;

use super::validate::Violation;

/// Entries of a page when the request does not say.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// First byte of a token: its form may change.
const TOKEN_VERSION: u8 = 1;

/// What a listing lists; a token of one listing is not valid in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// Registries of a folder.
    Registries = 1,
    /// Devices of a registry or folder.
    Devices = 2,
    /// Brokers of a folder.
    Brokers = 3,
    /// Operations of a resource.
    Operations = 4,
    /// Topic aliases of a registry's devices.
    Aliases = 5,
    /// API tokens.
    Tokens = 6,
}

/// Place of an entry in the order of its listing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// When the entry was created.
    pub created_at: Timestamp,
    /// Its id, or another text that is unique in the listing.
    pub id: String,
}

/// Which part of a listing is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    listing: Listing,
    after: Option<Position>,
    size: usize,
}

impl PageRequest {
    /// Reads `page_size` (validated before) and `page_token`.
    ///
    /// # Errors
    /// A violation if the token was not made by the same listing.
    pub fn parse(listing: Listing, page_size: i64, page_token: &str) -> Result<Self, Violation> {
        let size = match usize::try_from(page_size) {
            Ok(0) | Err(_) => PAGE_SIZE_DEFAULT,
            Ok(size) => size,
        };
        let after = if page_token.is_empty() {
            None
        } else {
            let position = decode(listing, page_token);
            Some(position.ok_or_else(|| {
                Violation::new("page_token", "must be empty or the next_page_token of the same listing")
            })?)
        };
        Ok(Self { listing, after, size })
    }

    /// The entry that this page starts after.
    pub fn after(&self) -> Option<&Position> {
        self.after.as_ref()
    }

    /// Cuts the page out of an ordered listing, which may begin anywhere before the page, and makes the next token:
    /// empty on the last page.
    pub fn cut<T>(&self, ordered: impl Iterator<Item = (Position, T)>) -> (Vec<T>, String) {
        let mut rest =
            ordered.skip_while(|(position, _)| self.after.as_ref().is_some_and(|after| position <= after));
        let mut page = Vec::new();
        let mut last = None;
        for (position, entry) in rest.by_ref().take(self.size) {
            page.push(entry);
            last = Some(position);
        }
        let token = match (last, rest.next()) {
            (Some(last), Some(_)) => encode(self.listing, &last),
            _ => String::new(),
        };
        (page, token)
    }
}

fn encode(listing: Listing, position: &Position) -> String {
    let mut bytes = vec![TOKEN_VERSION, listing as u8];
    bytes.extend(position.created_at.nanoseconds.to_be_bytes());
    bytes.extend(position.id.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(listing: Listing, token: &str) -> Option<Position> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let rest = bytes.strip_prefix(&[TOKEN_VERSION, listing as u8])?;
    let (nanoseconds, id) = rest.split_first_chunk::<8>()?;
    let created_at = Timestamp::from_nanoseconds(u64::from_be_bytes(*nanoseconds));
    Some(Position { created_at, id: String::from_utf8(id.to_vec()).ok().filter(|id| !id.is_empty())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(times: &[(u64, &str)]) -> Vec<(Position, String)> {
        let position =
            |time, id: &str| Position { created_at: Timestamp::from_nanoseconds(time), id: id.to_owned() };
        let mut entries: Vec<_> =
            times.iter().map(|(time, id)| (position(*time, id), (*id).to_owned())).collect();
        entries.sort();
        entries
    }

    fn page(entries: &[(Position, String)], size: i64, token: &str) -> (Vec<String>, String) {
        let request = PageRequest::parse(Listing::Devices, size, token).expect("good token");
        request.cut(entries.iter().cloned())
    }

    #[test]
    fn pages_follow_each_other_and_the_last_has_no_token() {
        let all = entries(&[(1, "b"), (1, "a"), (2, "c"), (3, "d")]);
        let (first, token) = page(&all, 2, "");
        assert_eq!(first, ["a", "b"]);
        let (second, token) = page(&all, 2, &token);
        assert_eq!((second, token.as_str()), (vec!["c".to_owned(), "d".to_owned()], ""));
    }

    #[test]
    fn inserts_and_deletions_between_pages_neither_repeat_nor_skip() {
        let (_, token) = page(&entries(&[(1, "a"), (2, "b"), (4, "d")]), 2, "");
        // The entry that the token names is gone, and there are new ones on both sides of it.
        let (rest, _) = page(&entries(&[(1, "a"), (1, "aa"), (3, "c"), (4, "d")]), 2, &token);
        assert_eq!(rest, ["c", "d"]);
    }

    #[test]
    fn tokens_fit_the_request_field_and_forged_ones_are_refused() {
        let position = Position { created_at: Timestamp::from_nanoseconds(u64::MAX), id: "x".repeat(50) };
        let token = encode(Listing::Registries, &position);
        assert!(token.len() <= 100, "{}", token.len());
        assert!(PageRequest::parse(Listing::Registries, 0, &token).is_ok());
        for bad in [token.as_str(), "x", "AQI", "===", "AQIAAAAAAAAAAA"] {
            assert!(PageRequest::parse(Listing::Devices, 0, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_size_means_the_default() {
        let request = PageRequest::parse(Listing::Tokens, 0, "").expect("empty token");
        assert_eq!(request.size, PAGE_SIZE_DEFAULT);
    }
}
