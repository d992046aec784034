//! Names and identities.

use alloc::sync::Arc;
use core::fmt;
use core::hash::{Hash, Hasher};
use serde::{Deserialize, Serialize};
use steadfast_proto::limits::{MAX_ADDRESS_LEN, MAX_NODE_NAME_LEN};

/// Offset of a record in a group's log. Dense from 0; counts records.
pub type Offset = u64;
/// Number of a primary's reign within a lineage; +1 with every change of primary.
pub type Epoch = u64;
/// Generation of a group's data; +1 when data is given up (R24, R27).
pub type Lineage = u64;
/// Number of a record within (publisher, group); contiguous from 1.
pub type Sequence = u64;
/// Which broker group. A cluster numbers its groups from 0.
pub type Group = u32;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        /// Short: the first eight digits tell identities apart in a trace.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}", self.0 >> 96)
            }
        }
    };
}

random_id!(
    /// Storage generation (`gen`): changes whenever the storage may have lost something that it
    /// acknowledged. A memory log has a new one with every process.
    Generation
);
random_id!(
    /// Process incarnation (`inc`): new with every process.
    Incarnation
);
random_id!(
    /// Identity of a group's log: tells clusters apart that use the same names.
    GroupId
);
random_id!(
    /// Identity of a publisher, kept over reconnects.
    PublisherId
);
random_id!(
    /// Makes a request recognisable when it arrives twice.
    Nonce
);

/// Why a text is not a valid name, topic, filter or address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidText {
    /// It is empty.
    Empty,
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It has more dot-separated tokens than this.
    TooManyTokens(usize),
    /// It holds this character, which is not allowed there.
    BadCharacter(char),
    /// Two dots in a row, or a dot at an end.
    EmptyToken,
    /// A wildcard where none is allowed.
    Wildcard,
}

impl fmt::Display for InvalidText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty"),
            Self::TooLong(max) => write!(f, "is longer than {max} bytes"),
            Self::TooManyTokens(max) => write!(f, "has more than {max} dot-separated words"),
            Self::BadCharacter(c) => write!(f, "holds the character {c:?}, which is not allowed"),
            Self::EmptyToken => f.write_str("has an empty word: a dot at an end, or two in a row"),
            Self::Wildcard => f.write_str(
                "has a wildcard out of place: '*' and '>' stand for whole words in filters, '>' only last",
            ),
        }
    }
}

impl core::error::Error for InvalidText {}

/// Name of a broker: lower-case letters, digits, `-` and `_`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Checks the name.
    ///
    /// # Errors
    /// When it is empty, too long or holds another character.
    pub fn new(name: &str) -> Result<Self, InvalidText> {
        check_length(name, MAX_NODE_NAME_LEN)?;
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        match name.chars().find(|&c| !allowed(c)) {
            Some(c) => Err(InvalidText::BadCharacter(c)),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a node listens, for example `tcp://127.0.0.1:7401`. Opaque to the core. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Address(Arc<str>);

impl Address {
    /// Checks the length and that it is printable ASCII.
    ///
    /// # Errors
    /// When it is empty, too long or holds another character.
    pub fn new(address: &str) -> Result<Self, InvalidText> {
        check_length(address, MAX_ADDRESS_LEN)?;
        match address.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => Err(InvalidText::BadCharacter(c)),
            None => Ok(Self(address.into())),
        }
    }

    /// The address as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

pub(crate) fn check_length(text: &str, max: usize) -> Result<(), InvalidText> {
    match text.len() {
        0 => Err(InvalidText::Empty),
        n if n > max => Err(InvalidText::TooLong(max)),
        _ => Ok(()),
    }
}

/// A member of a group: a node with what its storage holds. Acknowledgements and the in-sync set
/// count members, never node names alone: a node that lost its storage is another member.
#[derive(Clone, Debug, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The node.
    pub node: NodeName,
    /// What its storage holds.
    pub generation: Generation,
}

/// A primary compares members with every input. The number is cheap to compare, and tells nearly all of them apart.
impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        self.generation == other.generation && self.node == other.node
    }
}

impl Hash for Member {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.node.hash(state);
        self.generation.hash(state);
    }
}

/// Which process speaks: the identity triple, with the creation transaction of its live node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerIdentity {
    /// The node and its storage.
    pub member: Member,
    /// The process.
    pub incarnation: Incarnation,
    /// Orders the processes of one node (R32); 0 while the live node is not registered.
    pub czxid: i64,
}

/// Where a node's process can be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The node.
    pub node: NodeName,
    /// The process.
    pub incarnation: Incarnation,
    /// Where it listens.
    pub address: Address,
}
