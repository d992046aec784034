//! Addresses as people write them: `host:port`, or `tcp://host:port`.

use std::io::ErrorKind;
use steadfast_core::id::Address;

/// Why a text is not an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}; write HOST:PORT, for example 127.0.0.1:7401")]
pub struct InvalidAddress {
    text: String,
    reason: &'static str,
}

/// Why a node cannot listen: the cause, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {cause}; {}", remedy(*kind))]
pub struct ListenError {
    address: Address,
    kind: Option<ErrorKind>,
    cause: String,
}

impl ListenError {
    /// The operating system refused.
    pub fn system(address: &Address, error: &std::io::Error) -> Self {
        Self { address: address.clone(), kind: Some(error.kind()), cause: error.to_string() }
    }

    /// The socket library refused.
    pub fn library(address: &Address, error: &dyn std::error::Error) -> Self {
        Self { address: address.clone(), kind: None, cause: error.to_string() }
    }
}

const fn remedy(kind: Option<ErrorKind>) -> &'static str {
    match kind {
        Some(ErrorKind::AddrInUse) => "stop the process that uses the port, or choose another one (0: any)",
        Some(ErrorKind::AddrNotAvailable) => "choose an address of this machine, for example 127.0.0.1",
        Some(ErrorKind::PermissionDenied) => "choose a port above 1023",
        _ => "check the address",
    }
}

/// Reads `host:port` or `tcp://host:port`; an IPv6 host stands in brackets.
///
/// # Errors
/// When host or port is missing, the port is no number below 65,536, or the transport is not TCP.
pub fn parse(text: &str) -> Result<Address, InvalidAddress> {
    let invalid = |reason| InvalidAddress { text: text.to_owned(), reason };
    let (host, port) = split(text).map_err(invalid)?;
    Address::new(&format!("tcp://{host}:{port}")).map_err(|_| invalid("it is too long or not ASCII"))
}

/// Host (without brackets) and port of an address.
///
/// # Errors
/// As [`parse`].
pub fn host_and_port(address: &Address) -> Result<(&str, u16), InvalidAddress> {
    let invalid = |reason| InvalidAddress { text: address.as_str().to_owned(), reason };
    let (host, port) = split(address.as_str()).map_err(invalid)?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// A comma-separated list.
///
/// # Errors
/// As [`parse`], for the first one that is wrong; an empty list is wrong too.
pub fn parse_list(text: &str) -> Result<Vec<Address>, InvalidAddress> {
    text.split(',').map(|one| parse(one.trim())).collect()
}

fn split(text: &str) -> Result<(&str, u16), &'static str> {
    let rest = text.strip_prefix("tcp://").unwrap_or(text);
    if rest.contains("://") {
        return Err("only tcp is supported");
    }
    let (host, port) = rest.rsplit_once(':').ok_or("the port is missing")?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || host == "[]" {
        return Err("the host is missing");
    }
    if host.contains(':') && !bracketed {
        return Err("an IPv6 host stands in brackets");
    }
    let port = port.parse().map_err(|_| "the port is not a number below 65536")?;
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        let cases = [
            ("127.0.0.1:7401", "tcp://127.0.0.1:7401", ("127.0.0.1", 7401)),
            ("tcp://localhost:0", "tcp://localhost:0", ("localhost", 0)),
            ("[::1]:7", "tcp://[::1]:7", ("::1", 7)),
        ];
        for (text, normal, parts) in cases {
            let address = parse(text).unwrap();
            assert_eq!(address.as_str(), normal);
            assert_eq!(host_and_port(&address).unwrap(), parts);
        }
        assert_eq!(parse_list("a:1, b:2").unwrap().len(), 2);
    }

    #[test]
    fn wrong_addresses_say_what_is_wrong() {
        for text in ["", "host", "host:", ":1", "host:65536", "ipc://x:1", "::1:7", "a:1\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse_list("a:1,").is_err());
        let error = parse("host").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"host\" is not an address: the port is missing; write HOST:PORT, for example 127.0.0.1:7401"
        );
    }
}
