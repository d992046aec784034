//! Several byte strings as one: each has its length before it, in two bytes, little-endian; the last one
//! ends with the input.

/// The parts of an input, at most so many; the last one has the rest.
pub fn split(mut bytes: &[u8], most: usize) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk().filter(|_| parts.len() + 1 < most) {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (part, rest) = rest.split_at(length);
        parts.push(part);
        bytes = rest;
    }
    parts.push(bytes);
    parts
}

/// The input that has these parts. What a length cannot say is cut.
pub fn join(parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let Some((last, others)) = parts.split_last() else { return Vec::new() };
    let mut bytes = Vec::new();
    for part in others {
        let length = u16::try_from(part.as_ref().len()).unwrap_or(u16::MAX);
        bytes.extend(length.to_le_bytes());
        bytes.extend(&part.as_ref()[..usize::from(length)]);
    }
    bytes.extend(last.as_ref());
    bytes
}
