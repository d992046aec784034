//! Secrets come from the environment or from a file of their own.

use super::keys::SecretKey;
use super::layers::Environment;
use super::problem::{Origin, Problem};
use crate::secret::Secret;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// A longer file holds no secret.
const MAX_LEN: u64 = 4_096;

/// Reads a secret: from its variable, or else from its file.
///
/// # Errors
/// When it cannot be read, or there is nothing in it.
pub(super) fn read(
    key: &SecretKey,
    environment: &Environment,
    file: Option<(&Path, &Origin)>,
) -> Result<Option<Secret>, Problem> {
    if let Some(value) = environment.get(key.variable).filter(|value| !value.is_empty()) {
        let origin = Origin::Environment(key.variable);
        return match value.to_str() {
            Some(text) => Ok(Some(Secret::new(text.trim().to_owned()))),
            None => Err(Problem::at(&origin, "it is not text in UTF-8; set it anew")),
        };
    }
    let Some((path, origin)) = file else { return Ok(None) };
    let failed = |cause: &str, remedy: &str| {
        let (key, path) = (key.file_key, path.display());
        Problem::at(origin, format_args!("{key} = \"{path}\" cannot be read: {cause}; {remedy}"))
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_LEN + 1).read_to_string(&mut text))
        .map_err(|error| failed(&error.to_string(), "check the path and who may read it"))?;
    if text.len() as u64 > MAX_LEN {
        return Err(failed("it is longer than 4KiB", "name the file that holds the secret alone"));
    }
    match text.trim() {
        "" => Err(failed("it is empty", &format!("write {} into it", key.doc))),
        secret => Ok(Some(Secret::new(secret.to_owned()))),
    }
}
