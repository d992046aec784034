//! The greeting: the first 64 bytes of either side ("The Greeting").

use super::Fault;

/// Bytes of a greeting.
pub(super) const GREETING_LEN: usize = 64;
/// Where the mechanism's name stands, padded with zeros.
const MECHANISM: core::ops::Range<usize> = 12..32;

/// Ours: signature, version 3.1, NULL. Who is the server means nothing without security.
pub(super) const fn greeting() -> [u8; GREETING_LEN] {
    let mut bytes = [0; GREETING_LEN];
    bytes[0] = 0xff;
    bytes[9] = 0x7f;
    bytes[10] = 3;
    bytes[11] = 1;
    let null = *b"NULL";
    let mut at = 0;
    while at < null.len() {
        bytes[MECHANISM.start + at] = null[at];
        at += 1;
    }
    bytes
}

/// What a greeting says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Whether it knows PING, which came with version 3.1.
    pub(super) heartbeats: bool,
}

/// Looks at as much of the peer's greeting as is there: a stranger is sent away at the first byte that
/// tells. `None` while the greeting is not complete.
pub(super) fn check(bytes: &[u8]) -> Result<Option<Greeting>, Fault> {
    let at = |place: usize| bytes.get(place).copied();
    // The padding between the two is free: old peers announce a length there.
    if at(0).is_some_and(|byte| byte != 0xff) || at(9).is_some_and(|byte| byte & 1 == 0) {
        return Err(Fault::Malformed("it does not begin with the signature"));
    }
    if let Some(major) = at(10).filter(|major| *major < 3) {
        return Err(Fault::Version(major));
    }
    let Some(mechanism) = bytes.get(MECHANISM) else { return Ok(None) };
    let (name, padding) = mechanism.split_at(4);
    if name != b"NULL" || padding.iter().any(|byte| *byte != 0) {
        return Err(Fault::Mechanism);
    }
    let heartbeats = bytes[10..12] > [3, 0][..];
    Ok((bytes.len() >= GREETING_LEN).then_some(Greeting { heartbeats }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_greeting_is_complete_with_its_last_byte() {
        let bytes = greeting();
        let complete = Ok(Some(Greeting { heartbeats: true }));
        let lengths = (0..=GREETING_LEN).filter(|len| check(&bytes[..*len]) == complete);
        assert!(lengths.eq([GREETING_LEN]));
    }

    #[test]
    fn version_3_0_knows_no_heartbeats() {
        let version = |major, minor| {
            let mut bytes = greeting();
            bytes[10..12].copy_from_slice(&[major, minor]);
            check(&bytes).map(|greeting| greeting.map(|greeting| greeting.heartbeats))
        };
        assert_eq!((version(3, 0), version(3, 1)), (Ok(Some(false)), Ok(Some(true))));
        assert_eq!((version(3, 7), version(4, 0)), (Ok(Some(true)), Ok(Some(true))));
    }

    #[test]
    fn a_stranger_is_known_by_its_first_byte_that_tells() {
        assert!(matches!(check(b"GET /"), Err(Fault::Malformed(_))));
        let changed = |place: usize, byte: u8| {
            let mut bytes = greeting();
            bytes[place] = byte;
            check(&bytes[..=place.max(MECHANISM.end - 1)])
        };
        assert!(matches!(changed(9, 0x7e), Err(Fault::Malformed(_))));
        assert_eq!(changed(10, 1), Err(Fault::Version(1)));
        assert_eq!(changed(12, b'C'), Err(Fault::Mechanism));
        assert_eq!(changed(20, b'X'), Err(Fault::Mechanism));
        // A later version of ours, and the lengths of old signatures.
        assert_eq!([changed(10, 4), changed(11, 0), changed(8, 5)], [Ok(None); 3]);
    }
}
