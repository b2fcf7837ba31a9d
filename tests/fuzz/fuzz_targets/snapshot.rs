//! Any bytes, as a snapshot and as a command of the log: nothing panics or takes memory beyond its input, and what is
//! accepted is written and read again as the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rookery::store::wire::{decode_command, encode_command, read_snapshot, write_snapshot};

fuzz_target!(|input: &[u8]| {
    if let Ok(catalog) = read_snapshot(&mut { input }, 1) {
        let mut written = Vec::new();
        write_snapshot(&catalog, 1, &mut written).expect("a vector takes everything");
        assert_eq!(read_snapshot(&mut written.as_slice(), 1).ok(), Some(catalog));
    }
    if let Ok(command) = decode_command(bytes::Bytes::copy_from_slice(input), 1) {
        assert_eq!(decode_command(encode_command(&command, 1), 1), Ok(command));
    }
});
