//! A stream that delivers and takes what a test says.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::Shutdown;

use crate::master::http::HttpStream;

/// Reads the pieces that arrive, takes as many bytes as it has room for, and blocks otherwise.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) arriving: VecDeque<Vec<u8>>,
    /// Whether the client has closed its half.
    pub(super) closed: bool,
    pub(super) room: usize,
    pub(super) sent: Vec<u8>,
    pub(super) shut_down: Cell<bool>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut piece) = self.arriving.pop_front() else {
            return if self.closed { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        };
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        if length < piece.len() {
            self.arriving.push_front(piece.split_off(length));
        }
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.room);
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= length;
        self.sent.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl HttpStream for Pipe {
    fn shut_down(&self, _how: Shutdown) -> io::Result<()> {
        self.shut_down.set(true);
        Ok(())
    }
}
