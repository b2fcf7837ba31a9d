//! Encrypted files: chunks under an authenticated cipher, in the STREAM construction, so that a file that was cut off, changed
//! or put together anew is noticed at the chunk.
//!
//! A file is [`MAGIC`], 32 bytes of salt, and chunks of 64 KiB (the last one shorter or empty), each followed by a tag of 16
//! bytes. The cipher is ChaCha20-Poly1305 (RFC 8439) with a key of its own for each file, by HKDF-SHA256 (RFC 5869) from the
//! salt and what the key file holds. The nonce of a chunk is its number and whether it is the last one.

use std::io::{self, Read, Write};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

/// How a sealed file begins. The number is that of the format.
pub const MAGIC: &[u8; 17] = b"rookery sealed 1\n";
const SALT_BYTES: usize = 32;
const CHUNK_BYTES: usize = 64 * 1024;
const TAG_BYTES: usize = 16;
const PURPOSE: &[u8] = b"rookery backup";

/// Why a file could not be unsealed.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// One of the files cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing can be said about what it holds.
    #[error("cannot be decrypted: the key is another one, or the file was changed or cut off")]
    Refused,
}

/// Encrypts all of `plain`.
///
/// # Errors
/// Those of the files.
pub fn seal(secret: &[u8], plain: &mut impl Read, sealed: &mut impl Write) -> io::Result<()> {
    let mut salt = [0; SALT_BYTES];
    SystemRandom::new().fill(&mut salt).map_err(|_| io::Error::other("no random numbers"))?;
    sealed.write_all(MAGIC)?;
    sealed.write_all(&salt)?;
    let mut chunks = Chunks::new(secret, &salt);
    let mut chunk = read_chunk(plain, CHUNK_BYTES)?;
    loop {
        let next = read_chunk(plain, CHUNK_BYTES)?;
        let is_last = next.is_empty();
        let (nonce, bound) = chunks.next(is_last);
        let tag = chunks.key.seal_in_place_separate_tag(nonce, bound, &mut chunk);
        let tag = tag.map_err(|_| io::Error::other("a chunk is too long for its cipher"))?;
        sealed.write_all(&chunk)?;
        sealed.write_all(tag.as_ref())?;
        if is_last {
            return Ok(());
        }
        chunk = next;
    }
}

/// Decrypts all of `sealed`, which begins after [`MAGIC`]. What was written before an error is genuine, but not complete.
///
/// # Errors
/// [`UnsealError`].
pub fn unseal(secret: &[u8], sealed: &mut impl Read, plain: &mut impl Write) -> Result<(), UnsealError> {
    let salt = read_chunk(sealed, SALT_BYTES)?;
    if salt.len() != SALT_BYTES {
        return Err(UnsealError::Refused);
    }
    let mut chunks = Chunks::new(secret, &salt);
    let mut chunk = read_chunk(sealed, CHUNK_BYTES + TAG_BYTES)?;
    loop {
        let next = read_chunk(sealed, CHUNK_BYTES + TAG_BYTES)?;
        let is_last = next.is_empty();
        let (nonce, bound) = chunks.next(is_last);
        let opened = chunks.key.open_in_place(nonce, bound, &mut chunk).map_err(|_| UnsealError::Refused)?;
        plain.write_all(opened)?;
        if is_last {
            return Ok(());
        }
        chunk = next;
    }
}

/// The key of one file, and the number of the next chunk.
struct Chunks {
    key: LessSafeKey,
    next: u64,
}

impl Chunks {
    fn new(secret: &[u8], salt: &[u8]) -> Self {
        let extracted = Salt::new(HKDF_SHA256, salt).extract(secret);
        let expanded =
            extracted.expand(&[PURPOSE], &CHACHA20_POLY1305).expect("a key is shorter than 255 hashes");
        Self { key: LessSafeKey::new(UnboundKey::from(expanded)), next: 0 }
    }

    /// The nonce of the next chunk, used once with this key, and what the tag covers besides it.
    fn next(&mut self, is_last: bool) -> (Nonce, Aad<&'static [u8]>) {
        let mut nonce = [0; NONCE_LEN];
        nonce[3..11].copy_from_slice(&self.next.to_be_bytes());
        nonce[11] = is_last.into();
        self.next += 1;
        (Nonce::assume_unique_for_key(nonce), Aad::from(&MAGIC[..]))
    }
}

/// So many bytes, or fewer at the end of the input.
fn read_chunk(input: &mut impl Read, bytes: usize) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(bytes);
    input.take(bytes as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::new();
        seal(b"key", &mut &plain[..], &mut sealed).unwrap();
        assert!(sealed.starts_with(MAGIC));
        sealed
    }

    fn opened(secret: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut plain = Vec::new();
        match unseal(secret, &mut &sealed[MAGIC.len()..], &mut plain) {
            Ok(()) => Some(plain),
            Err(UnsealError::Refused) => None,
            Err(UnsealError::Io(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn what_was_sealed_is_unsealed_whatever_its_length() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let plain: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            let sealed = sealed(&plain);
            assert_eq!(opened(b"key", &sealed), Some(plain), "{length}");
            assert_eq!(opened(b"another", &sealed), None);
        }
        assert_ne!(sealed(b"same"), sealed(b"same"));
    }

    #[test]
    fn a_flipped_bit_a_cut_and_another_order_are_noticed() {
        let plain = vec![7; 2 * CHUNK_BYTES + 100];
        let sealed = sealed(&plain);
        let (start, chunk) = (MAGIC.len() + SALT_BYTES, CHUNK_BYTES + TAG_BYTES);
        for place in [MAGIC.len(), start, start + chunk - 1, start + chunk, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(opened(b"key", &changed), None, "{place}");
        }
        // At the end of a chunk as well: the one before is not marked as the last.
        for length in [MAGIC.len() + 1, start, start + 1, start + chunk, start + 2 * chunk, sealed.len() - 1]
        {
            assert_eq!(opened(b"key", &sealed[..length]), None, "{length}");
        }
        let swapped = [
            &sealed[..start],
            &sealed[start + chunk..start + 2 * chunk],
            &sealed[start..start + chunk],
            &sealed[start + 2 * chunk..],
        ]
        .concat();
        assert_eq!(opened(b"key", &swapped), None);
        assert_eq!(opened(b"key", &[&sealed[..], b"x"].concat()), None);
    }
}
