//! Lines of a file or of standard input, read on a thread of their own: a slow pipe never holds the
//! runtime up. Memory is bounded: a few blocks are read ahead, no more.

use bytes::{Bytes, BytesMut};
use std::io::{self, Read};
use std::thread;
use steadfast_core::limits::MAX_RECORD_LEN;
use tokio::sync::mpsc;

/// Bytes asked for in one read.
const READ: usize = 64 << 10;
/// Blocks of lines that wait to be taken.
const BLOCKS: usize = 4;

/// Why there are no more lines, although the input has not ended.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// The system could not read.
    #[error("cannot read the input: {0}")]
    Read(#[from] io::Error),
    /// A line is longer than a record may be.
    #[error("line {number} is longer than {MAX_RECORD_LEN} bytes")]
    TooLong {
        /// From 1.
        number: u64,
    },
}

/// Lines, in blocks.
pub type Blocks = mpsc::Receiver<Result<Vec<Bytes>, LinesError>>;

/// Reads lines until the end of the input, or an error. A line is what stands before a newline; what
/// follows the last newline is a line if it is not empty.
pub fn read(input: impl Read + Send + 'static) -> Blocks {
    let (sender, receiver) = mpsc::channel(BLOCKS);
    thread::spawn(move || {
        let mut reader = Reader { input, rest: BytesMut::new(), number: 0 };
        loop {
            let block = reader.next();
            let is_last = !matches!(block, Ok(Some(_)));
            let taken = block.transpose().is_none_or(|block| sender.blocking_send(block).is_ok());
            if is_last || !taken {
                return;
            }
        }
    });
    receiver
}

struct Reader<R> {
    input: R,
    /// The beginning of a line whose end was not read yet.
    rest: BytesMut,
    /// Lines so far.
    number: u64,
}

impl<R: Read> Reader<R> {
    /// The lines that the next read completes; `None` at the end of the input.
    fn next(&mut self) -> Result<Option<Vec<Bytes>>, LinesError> {
        let searched = self.rest.len();
        self.rest.resize(searched + READ, 0);
        let count = self.fill(searched)?;
        self.rest.truncate(searched + count);
        if count == 0 {
            return self.last();
        }
        let mut lines = Vec::new();
        if let Some(end) = self.rest[searched..].iter().rposition(|&byte| byte == b'\n') {
            let block = self.rest.split_to(searched + end + 1).freeze();
            let mut start = 0;
            for end in block.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(index, _)| index) {
                lines.push(self.checked(block.slice(start..end))?);
                start = end + 1;
            }
        }
        if self.rest.len() > MAX_RECORD_LEN {
            return Err(LinesError::TooLong { number: self.number + 1 });
        }
        Ok(Some(lines))
    }

    fn fill(&mut self, start: usize) -> io::Result<usize> {
        loop {
            match self.input.read(&mut self.rest[start..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn last(&mut self) -> Result<Option<Vec<Bytes>>, LinesError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let line = self.rest.split().freeze();
        self.checked(line).map(|line| Some(vec![line]))
    }

    fn checked(&mut self, line: Bytes) -> Result<Bytes, LinesError> {
        self.number += 1;
        match line.len() > MAX_RECORD_LEN {
            true => Err(LinesError::TooLong { number: self.number }),
            false => Ok(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out a few bytes at a time.
    struct Dripping(Vec<u8>, usize);

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn all(input: &[u8], step: usize) -> Result<Vec<Bytes>, LinesError> {
        let mut blocks = read(Dripping(input.to_vec(), step));
        let mut lines = Vec::new();
        while let Some(block) = blocks.blocking_recv() {
            lines.extend(block?);
        }
        Ok(lines)
    }

    #[test]
    fn lines_are_exact_bytes_however_they_come() {
        let input = b"one\n\n\xff\xfe\r\n\nlast";
        let expected: [&[u8]; 5] = [b"one", b"", b"\xff\xfe\r", b"", b"last"];
        for step in [1, 2, 3, 5, 100] {
            assert_eq!(all(input, step).unwrap(), expected, "{step} bytes at a time");
        }
        assert_eq!(all(b"a\n", 9).unwrap(), [&b"a"[..]], "a final newline begins no line");
        assert!(all(b"", 9).unwrap().is_empty());
    }

    #[test]
    fn a_line_may_be_as_long_as_a_record_and_no_longer() {
        let mut input = b"first\n".to_vec();
        input.extend(vec![b'x'; MAX_RECORD_LEN]);
        let lines = all(&input, READ).unwrap();
        assert_eq!((lines.len(), lines[1].len()), (2, MAX_RECORD_LEN));
        for end in [&b"x"[..], b"x\n", b"x\nmore\n"] {
            let mut longer = input.clone();
            longer.extend_from_slice(end);
            let error = all(&longer, READ).unwrap_err();
            assert!(matches!(error, LinesError::TooLong { number: 2 }), "{error}");
        }
    }
}
