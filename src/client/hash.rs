//! The hash functions of rings: each exactly as the client or proxy that uses it, oddities included.

/// XXH3 with 64 bits and seed 0.
pub(crate) fn xxh3(bytes: &[u8]) -> u64 {
    twox_hash::XxHash3_64::oneshot(bytes)
}

/// The four points of one MD5 sum: its words in little-endian order (libmemcached `ketama_server_hash`).
pub(crate) fn md5_words(bytes: &[u8]) -> [u32; 4] {
    let sum: [u8; 16] = md5::compute(bytes).0;
    let (words, _) = sum.as_chunks::<4>();
    let mut all = words.iter().map(|word| u32::from_le_bytes(*word));
    std::array::from_fn(|_| all.next().unwrap_or_default())
}

/// libmemcached's MD5 hash of a key: the first word.
pub(crate) fn md5(bytes: &[u8]) -> u32 {
    let [first, ..] = md5_words(bytes);
    first
}

/// A byte as C's `char` on x86-64, which has a sign; builds for ARM differ for bytes above 127.
const fn signed(byte: u8) -> u32 {
    (byte.cast_signed() as i32).cast_unsigned()
}

/// libmemcached's default, Jenkins' one-at-a-time (`hashkit_one_at_a_time`).
pub(crate) fn one_at_a_time(bytes: &[u8]) -> u32 {
    let mut hash = 0u32;
    for &byte in bytes {
        hash = hash.wrapping_add(signed(byte));
        hash = hash.wrapping_add(hash << 10);
        hash ^= hash >> 6;
    }
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 11;
    hash.wrapping_add(hash << 15)
}

/// twemproxy's default: `FNV1a` with 64-bit constants, cut to 32 bits at every step (`hash_fnv1a_64`).
pub(crate) fn fnv1a_truncated(bytes: &[u8]) -> u32 {
    const INIT: u32 = 0x8422_2325;
    const PRIME: u32 = 0x1b3;
    bytes.iter().fold(INIT, |hash, &byte| {
        (hash ^ signed(byte)).wrapping_mul(PRIME)
    })
}

/// CRC-32 as in zlib, bit by bit: keys are short.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let sum = bytes.iter().fold(u32::MAX, |mut sum, &byte| {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            let carry = (sum & 1).wrapping_neg() & POLYNOMIAL;
            sum = (sum >> 1) ^ carry;
        }
        sum
    });
    !sum
}

/// `MurmurHash3` for x86 with 32 bits and seed 0, as pymemcache has it.
pub(crate) fn murmur3(bytes: &[u8]) -> u32 {
    fn scramble(word: u32) -> u32 {
        word.wrapping_mul(0xcc9e_2d51)
            .rotate_left(15)
            .wrapping_mul(0x1b87_3593)
    }
    let (words, tail) = bytes.as_chunks::<4>();
    let mut hash = 0u32;
    for word in words {
        hash ^= scramble(u32::from_le_bytes(*word));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let last = tail
        .iter()
        .rev()
        .fold(0u32, |word, &byte| (word << 8) | u32::from(byte));
    hash ^= scramble(last);
    // memcached keys have at most 250 bytes, names of nodes a few more.
    hash ^= u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

/// The finalizer of `SplitMix64`: makes two hashes that were combined by XOR one good hash.
pub(crate) const fn mix(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_test_vectors_hold() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(murmur3(b"hello, world"), 0x149b_bb7f);
        assert_eq!(murmur3(b""), 0);
        assert_eq!(
            one_at_a_time(b"The quick brown fox jumps over the lazy dog"),
            0x519e_91f5
        );
        assert_eq!(
            md5_words(b""),
            [0xd98c_1dd4, 0x04b2_008f, 0x9809_80e9, 0x7e42_f8ec]
        );
    }
}
