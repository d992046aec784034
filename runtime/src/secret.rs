//! What must not be shown.

use std::fmt;

/// A secret. It is not in any debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps it.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for whoever sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_in_debug_output() {
        let secret = Secret::new("hidden".into());
        assert_eq!(secret.expose(), "hidden");
        assert!(!format!("{secret:?}").contains("hidden"));
    }
}
