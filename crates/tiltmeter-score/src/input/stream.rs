//! A stream that is read and hashed on a thread of its own, so that counting its rows does not wait for either.

use std::io::{BufRead, Error, Read, Result};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

/// Bytes in a block; all blocks but the last are full.
const BLOCK: usize = 256 * 1024;

/// Blocks that may wait to be parsed.
const WAITING: usize = 8;

/// A stream whose hash is known when it has been read to its end.
pub(super) struct HashedStream {
    blocks: Receiver<Result<Vec<u8>>>,
    block: Vec<u8>,
    position: usize,
    thread: JoinHandle<String>,
}

impl HashedStream {
    pub(super) fn start(reader: Box<dyn Read + Send>) -> Self {
        let (sender, blocks) = sync_channel(WAITING);
        let thread = std::thread::spawn(move || forward(reader, &sender));
        Self { blocks, block: Vec::new(), position: 0, thread }
    }

    /// The first bytes, which stay to be read.
    pub(super) fn peek(&mut self) -> Result<&[u8]> {
        self.fill_buf()
    }

    /// Reads what is left and gives the SHA-256 of the whole, in hexadecimal.
    pub(super) fn finish(mut self) -> Result<String> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        self.thread.join().map_err(|_| Error::other("the reading thread failed"))
    }
}

/// Passes blocks on until the end, an error, or until nobody wants more.
fn forward(mut reader: Box<dyn Read + Send>, blocks: &SyncSender<Result<Vec<u8>>>) -> String {
    let mut hash = Sha256::new();
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        let read = reader.by_ref().take(BLOCK as u64).read_to_end(&mut block);
        hash.update(&block);
        let is_last = block.len() < BLOCK;
        let message = match read {
            Ok(_) => Ok(block),
            Err(error) => Err(error),
        };
        let is_error = message.is_err();
        if blocks.send(message).is_err() || is_last || is_error {
            return hexadecimal(&hash.finalize());
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl BufRead for HashedStream {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        while self.position >= self.block.len() {
            // The other end has gone: all has been read.
            let Ok(block) = self.blocks.recv() else { break };
            self.block = block?;
            self.position = 0;
        }
        Ok(self.block.get(self.position..).unwrap_or_default())
    }

    fn consume(&mut self, length: usize) {
        self.position += length;
    }
}

impl Read for HashedStream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let available = self.fill_buf()?;
        let length = available.len().min(buffer.len());
        let (from, to) = (available.split_at(length).0, buffer.split_at_mut(length).0);
        to.copy_from_slice(from);
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_hash_are_those_of_the_stream() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
            let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut stream = HashedStream::start(Box::new(std::io::Cursor::new(bytes.clone())));
            assert_eq!(stream.peek().unwrap(), bytes.get(..length.min(BLOCK)).unwrap());
            let mut read = Vec::new();
            stream.read_to_end(&mut read).unwrap();
            assert_eq!(read, bytes);
            assert_eq!(stream.finish().unwrap(), hexadecimal(&Sha256::digest(&bytes)));
            let unread = HashedStream::start(Box::new(std::io::Cursor::new(bytes.clone())));
            assert_eq!(unread.finish().unwrap(), hexadecimal(&Sha256::digest(&bytes)));
        }
    }

    #[test]
    fn an_error_of_the_stream_is_passed_on() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> Result<usize> {
                Err(Error::other("gone"))
            }
        }
        let mut stream = HashedStream::start(Box::new(Failing));
        assert_eq!(stream.read(&mut [0; 4]).unwrap_err().to_string(), "gone");
    }
}
