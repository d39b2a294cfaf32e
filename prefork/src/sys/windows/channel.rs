//! One end of the pipe between master and child: lines of text, and sockets written as text.

use std::io;
use std::os::windows::io::{BorrowedHandle, OwnedHandle};
use std::time::Duration;

use socket2::Socket;

use super::master_link::MasterSender;
use super::pipe::{Pipe, Reader};
use super::{SharedMemory, object, socket};
use crate::sys::cut_line::LastLine;
use crate::sys::inbox::Inbox;

/// The longest line of a master.
const MAX_LINE: usize = 16 * 1024;

/// A child asks for its listeners with this and its pid: the process that the master started may be a
/// wrapper.
pub(super) const WANTED: &str = "listeners-for ";
/// The answer: this and a socket, as text, for each listener.
pub(super) const HANDED: &str = "listeners";
/// Or this, and an error.
pub(super) const REFUSED: &str = "no-listeners";

/// What follows the listeners: this and a handle of the child's, as a number. A program that knows of no shared
/// memory ignores it.
pub(super) const MEMORY: &str = "memory ";

/// A master asks a child to stop with this.
const STOP: &str = "stop";

/// The outcome of one attempt to receive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes, and maybe whole lines.
    Bytes,
    /// Nothing within the timeout.
    Nothing,
    /// Nothing, but the other object is signalled.
    Other,
    /// The other side has closed its end.
    End,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Channel {
    reader: Reader,
    inbox: Inbox,
    /// Of what the senders of this end have sent.
    last_line: LastLine,
}

impl Channel {
    /// The master's end, and a child's.
    pub(super) fn pair() -> io::Result<(Self, OwnedHandle)> {
        let (ours, theirs) = Pipe::pair()?;
        let (reader, inbox) = (Reader::new(ours)?, Inbox::from_child());
        Ok((Self { reader, inbox, last_line: LastLine::default() }, theirs))
    }

    /// A child's end.
    pub(super) fn to_master(pipe: Pipe) -> io::Result<Self> {
        let (reader, inbox) = (Reader::new(pipe)?, Inbox::from_master(MAX_LINE));
        Ok(Self { reader, inbox, last_line: LastLine::default() })
    }

    /// A sending half of this end, usable while a thread receives on it.
    pub(super) fn pipe(&self) -> io::Result<Pipe> {
        self.reader.pipe().try_clone()
    }

    /// The sending half of a child's end.
    pub(crate) fn sender(&self) -> io::Result<MasterSender> {
        let last_line = self.last_line.clone();
        self.pipe().map(|pipe| MasterSender { pipe, last_line })
    }

    /// Blocks until there is a whole line.
    pub(crate) fn wait_for_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(line) = self.next_line() {
                return Ok(line);
            }
            if self.receive(None, None)? == Received::End {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends one line. Listeners cannot come with it here: a child asks for them.
    pub(crate) fn send(&mut self, line: &str, sockets: &[&Socket]) -> io::Result<()> {
        if sockets.is_empty() {
            self.reader.pipe().send(line)
        } else {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// Receives some of what has arrived. Waits for it, for the `other` object, or until the timeout.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it does not come from a prefork process.
    pub(super) fn receive(
        &mut self,
        other: Option<BorrowedHandle<'_>>,
        timeout: Option<Duration>,
    ) -> io::Result<Received> {
        if !self.reader.begin()? {
            return Ok(Received::End);
        }
        // Bytes come first if both are there.
        let objects: Vec<BorrowedHandle<'_>> = [self.reader.done()].into_iter().chain(other).collect();
        match object::wait_any(&objects, timeout)? {
            None => return Ok(Received::Nothing),
            Some(0) => {}
            Some(_) => return Ok(Received::Other),
        }
        let Some(bytes) = self.reader.end()? else { return Ok(Received::End) };
        self.inbox.push(bytes)?;
        Ok(Received::Bytes)
    }

    /// The next whole line that was received.
    pub(super) fn next_line(&mut self) -> Option<String> {
        self.inbox.next_line()
    }

    /// Returns nothing: a child reads its files itself, and its session tickets are its own.
    pub(crate) fn take_secrets(&mut self) -> io::Result<String> {
        Ok(String::new())
    }

    /// Takes shared memory of this size, which follows the listeners.
    pub(crate) fn take_memory(&mut self, size: usize) -> io::Result<SharedMemory> {
        let answer = self.wait_for_answer(&[MEMORY])?;
        SharedMemory::import(answer.strip_prefix(MEMORY).unwrap_or_default(), size)
    }

    /// Asks the master for the listeners, and takes them.
    pub(crate) fn take_listeners(&mut self) -> io::Result<Vec<Socket>> {
        self.send(&format!("{WANTED}{}", std::process::id()), &[])?;
        let answer = self.wait_for_answer(&[HANDED, REFUSED])?;
        match answer.strip_prefix(HANDED) {
            Some(sockets) => sockets.split_whitespace().map(socket::import).collect(),
            None => Err(io::Error::other(format!("the master could not hand over its listener: {answer}"))),
        }
    }

    /// Waits for a line that begins with one of `answers`. Messages that come before it are kept for later, except a stop: a
    /// child that serves no connection yet ends at once, as by a signal on Unix.
    fn wait_for_answer(&mut self, answers: &[&str]) -> io::Result<String> {
        let mut earlier = Vec::new();
        loop {
            let line = self.wait_for_line()?;
            if line == STOP {
                super::exit_now(0);
            }
            if answers.iter().any(|answer| line.starts_with(answer)) {
                earlier.iter().rev().for_each(|line: &String| self.inbox.put_back(line));
                return Ok(line);
            }
            earlier.push(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Channel, Channel) {
        let (master, child) = Channel::pair().unwrap();
        (master, Channel::to_master(Pipe::new(child)).unwrap())
    }

    #[test]
    fn lines_go_both_ways_at_once_and_the_end_is_seen() {
        let (mut master, mut child) = pair();
        let sender = child.sender().unwrap();
        let waiting = thread::spawn(move || (child.wait_for_line().unwrap(), child));
        // Sent while another thread waits in a read on the same end.
        sender.send("here").unwrap();
        assert_eq!(master.wait_for_line().unwrap(), "here");
        master.send("prefork/1 one", &[]).unwrap();
        let (line, mut child) = waiting.join().unwrap();
        assert_eq!(line, "prefork/1 one");
        assert_eq!(child.receive(None, Some(Duration::from_millis(1))).unwrap(), Received::Nothing);
        master.send("last words", &[]).unwrap();
        drop(master);
        assert_eq!(child.wait_for_line().unwrap(), "last words");
        assert_eq!(child.receive(None, None).unwrap(), Received::End);
    }

    #[test]
    fn listener_is_imported_as_exported() {
        let (mut master, mut child) = pair();
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let addr = listener.local_addr().unwrap();
        let asking = thread::spawn(move || (child.take_listeners().unwrap(), child));
        let request = master.wait_for_line().unwrap();
        master.send("said before the answer", &[]).unwrap();
        let pid = request.strip_prefix(WANTED).unwrap().parse().unwrap();
        master.send(&format!("{HANDED} {}", socket::export(&listener, pid).unwrap()), &[]).unwrap();
        let (received, mut child) = asking.join().unwrap();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].local_addr().unwrap(), addr);
        assert_eq!(child.next_line().as_deref(), Some("said before the answer"));
    }

    #[test]
    fn line_without_end_is_refused() {
        let (mut master, mut child) = pair();
        master.send(&"x".repeat(2 * MAX_LINE), &[]).unwrap();
        let outcome = loop {
            match child.receive(None, None) {
                Ok(Received::Bytes) => {}
                other => break other,
            }
        };
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn send_to_a_full_pipe_fails_after_a_timeout() {
        let (mut master, child) = pair();
        let flood = "x".repeat(256 * 1024);
        assert!(master.send(&flood, &[]).is_err());
        drop(child);
    }
}
