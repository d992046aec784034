//! CRC-32C, of batches and of recordings.

use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi};

/// Of these bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// Of the bytes that have this checksum, followed by these.
pub(crate) fn crc32c_append(before: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!before));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_specification_in_one_piece_and_in_two() {
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c_append(crc32c(&[0; 11]), &[0; 21]), 0x8a91_36aa);
        assert_eq!(crc32c_append(0, b"123456789"), 0xe306_9283);
    }
}
