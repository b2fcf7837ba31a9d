//! Paging through listings: stable order, and tokens that stay valid while resources come and go (U-P3).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use smol_str::SmolStr;

use crate::domain::id;
use crate::domain::timestamp::Timestamp;

/// Entries of a page when the request says 0.
pub const PAGE_SIZE_DEFAULT: usize = 100;

/// Most entries of a page in most listings.
pub const PAGE_SIZE_MAX: usize = 1_000;

/// Most entries of a page of devices.
pub const DEVICES_PAGE_SIZE_MAX: usize = 20_000;

/// Longest token, in characters.
pub const PAGE_TOKEN_CHARACTERS_MAX: usize = 100;

const TOKEN_VERSION: u8 = 1;

/// Which page of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Most entries to return, at least 1.
    pub size: usize,
    /// Where the previous page ended; `None` for the first page.
    pub after: Option<PageToken>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Continues the listing; `None` if this was the last page.
    pub next: Option<PageToken>,
}

/// The entry that a page ended with. Later entries belong to later pages, whether they existed by then or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PageToken {
    pub(super) created_at: Timestamp,
    pub(super) id: SmolStr,
    /// Distinguishes several entries of one resource; 0 where there is one.
    pub(super) ordinal: u8,
}

/// Why a page request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The size is negative or above the limit of the listing.
    #[error("page_size must be 0 to {size_max} (got {size})")]
    BadSize {
        /// The size.
        size: i64,
        /// The limit.
        size_max: usize,
    },
    /// The token was not made by this server.
    #[error("page_token is not a token of this listing")]
    BadToken,
}

impl PageRequest {
    /// Reads the two fields of a list request. Size 0 means [`PAGE_SIZE_DEFAULT`], an empty token the first page.
    ///
    /// # Errors
    /// [`PageError`] naming the field.
    pub fn parse(size: i64, size_max: usize, token: &str) -> Result<Self, PageError> {
        let size = match usize::try_from(size) {
            Ok(0) => PAGE_SIZE_DEFAULT.min(size_max),
            Ok(n) if n <= size_max => n,
            _ => return Err(PageError::BadSize { size, size_max }),
        };
        let after = if token.is_empty() { None } else { Some(PageToken::decode(token)?) };
        Ok(Self { size, after })
    }

    /// The first page, with `size` entries at most.
    pub fn first(size: usize) -> Self {
        Self { size: size.max(1), after: None }
    }
}

impl<T> Page<T> {
    /// The text for `next_page_token`: empty on the last page.
    pub fn next_token_text(&self) -> String {
        self.next.as_ref().map(PageToken::encode).unwrap_or_default()
    }
}

impl PageToken {
    pub(super) fn new(created_at: Timestamp, id: &str) -> Self {
        Self { created_at, id: SmolStr::new(id), ordinal: 0 }
    }

    /// The token as text for a client: opaque, URL-safe, at most 100 characters.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(10 + self.id.len());
        bytes.push(TOKEN_VERSION);
        bytes.extend_from_slice(&self.created_at.nanoseconds.to_be_bytes());
        bytes.push(self.ordinal);
        bytes.extend_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn decode(text: &str) -> Result<Self, PageError> {
        if text.len() > PAGE_TOKEN_CHARACTERS_MAX {
            return Err(PageError::BadToken);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| PageError::BadToken)?;
        let (head, id) = bytes.split_at_checked(10).ok_or(PageError::BadToken)?;
        let [TOKEN_VERSION, time @ .., ordinal] = head else {
            return Err(PageError::BadToken);
        };
        let time = <[u8; 8]>::try_from(time).map_err(|_| PageError::BadToken)?;
        let id = std::str::from_utf8(id).map_err(|_| PageError::BadToken)?;
        id::check(id).map_err(|_| PageError::BadToken)?;
        let created_at = Timestamp::from_nanoseconds(u64::from_be_bytes(time));
        Ok(Self { created_at, id: SmolStr::new(id), ordinal: *ordinal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_the_longest_ids_fit_and_read_back() {
        let token = PageToken {
            created_at: Timestamp::from_nanoseconds(u64::MAX),
            id: SmolStr::new("v".repeat(id::ID_CHARACTERS_MAX)),
            ordinal: 255,
        };
        let text = token.encode();
        assert!(text.len() <= PAGE_TOKEN_CHARACTERS_MAX, "{}", text.len());
        assert_eq!(PageRequest::parse(0, 1000, &text), Ok(PageRequest { size: 100, after: Some(token) }));
    }

    #[test]
    fn forged_tokens_and_sizes_out_of_range_are_refused() {
        // A43: page tokens forged, page_size 0/-1/1e9.
        for text in ["x", "!!!!", "AAAAAAAAAAAAAAAA", &"A".repeat(101), "AQAAAAAAAAAAAA", "AgAAAAAAAAAAAGE"] {
            assert_eq!(PageRequest::parse(1, 1000, text), Err(PageError::BadToken), "{text}");
        }
        for size in [-1, 1001, 1_000_000_000, i64::MIN] {
            assert_eq!(PageRequest::parse(size, 1000, ""), Err(PageError::BadSize { size, size_max: 1000 }));
        }
        assert_eq!(PageRequest::parse(0, 1000, ""), Ok(PageRequest::first(100)));
    }
}
