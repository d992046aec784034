//! Random identities from the operating system. Everything random in a node grows from these: the
//! core draws no randomness of its own.

use steadfast_core::id::{Generation, Incarnation, Nonce, PublisherId};

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system hands out random bytes");
    bytes
}

/// A seed for a node's generator.
pub fn seed() -> u64 {
    u64::from_ne_bytes(bytes())
}

/// 128 random bits.
pub fn random() -> u128 {
    u128::from_ne_bytes(bytes())
}

/// A storage generation: a memory log has a new one with every process (R22).
pub fn generation() -> Generation {
    Generation(random())
}

/// A process incarnation (R3).
pub fn incarnation() -> Incarnation {
    Incarnation(random())
}

/// A publisher's identity.
pub fn publisher() -> PublisherId {
    PublisherId(random())
}

/// A nonce.
pub fn nonce() -> Nonce {
    Nonce(random())
}
