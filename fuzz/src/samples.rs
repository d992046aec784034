//! What seeds are made of: encodings that other tests keep.

use std::fs;
use std::path::Path;

/// The files of a folder of this repository, in the order of their names: name and content.
///
/// # Panics
/// When it cannot be read.
pub fn files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder);
    let paths =
        fs::read_dir(folder).expect("a folder of the repository").map(|file| file.expect("a file").path());
    let mut files: Vec<_> = paths
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            (name, fs::read(path).expect("a file of the repository"))
        })
        .collect();
    files.sort();
    files
}

/// Messages of every kind, and data of the coordination tree, as they are encoded: name, and the parts of the
/// frame.
pub fn golden() -> Vec<(String, Vec<Vec<u8>>)> {
    let parts = |text: &[u8]| {
        text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(from_hex).collect()
    };
    files("proto/golden").into_iter().map(|(name, text)| (name, parts(&text))).collect()
}

fn from_hex(line: &[u8]) -> Vec<u8> {
    let digit = |digit: u8| (digit as char).to_digit(16).expect("hexadecimal") as u8;
    line.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
