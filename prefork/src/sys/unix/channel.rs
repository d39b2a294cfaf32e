//! One end of the socket pair between master and child: lines of text, and to the child listeners beside
//! them.
//!
//! The two ends differ in what they take. A child takes whatever its master sends. A master reads a bounded
//! amount of text, and has no room for descriptors: the kernel closes those that a child sends.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recv, recvmsg, sendmsg};
use socket2::Socket;

use super::SharedMemory;
use super::master_link::MasterSender;
use super::platform::descriptors::anonymous_file;
use crate::sys::cut_line::LastLine;
use crate::sys::inbox::Inbox;

/// What is received in one step.
const STEP_BYTES: usize = 512;
/// The kernel takes no more descriptors in one message.
const MAX_SOCKETS: usize = 253;
/// The longest line of a master. Many groups and paths need room.
const MAX_LINE: usize = 65_536;
/// The line that comes with the file of secrets, which may be larger than any socket's buffer.
const SECRETS: &str = "secrets";
/// The line that comes with shared memory. A program that knows of none ignores it.
const MEMORY: &str = "memory";

/// The outcome of one attempt to receive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, and maybe whole lines.
    Bytes,
    /// Nothing yet.
    Nothing,
    /// The other side has closed its end.
    End,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    inbox: Inbox,
    /// The descriptors that were received and not taken; `None` at the master's end.
    descriptors: Option<Descriptors>,
    /// Of what the senders of this end have sent.
    last_line: LastLine,
}

/// Descriptors, apart for each message that they came with: one receive returns the end of a message, and
/// the next message with its descriptors.
type Descriptors = VecDeque<Vec<OwnedFd>>;

impl Channel {
    /// The master's end, and a child's; both are closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::to_child(ours), theirs.into()))
    }

    /// The master's end.
    pub(super) fn to_child(socket: UnixStream) -> Self {
        Self { socket, inbox: Inbox::from_child(), descriptors: None, last_line: LastLine::default() }
    }

    /// The master's end, from an earlier program in this process.
    pub(super) fn to_earlier_child(socket: UnixStream) -> Self {
        Self { socket, inbox: Inbox::from_earlier_child(), descriptors: None, last_line: LastLine::default() }
    }

    /// A child's end.
    pub(super) fn to_master(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Inbox::from_master(MAX_LINE),
            descriptors: Some(VecDeque::new()),
            last_line: LastLine::default(),
        }
    }

    /// The sending half of a child's end.
    pub(crate) fn sender(&self) -> io::Result<MasterSender> {
        let last_line = self.last_line.clone();
        self.socket.try_clone().map(|socket| MasterSender { socket, last_line })
    }

    /// Blocks until there is a whole line.
    pub(crate) fn wait_for_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(line) = self.next_line() {
                return Ok(line);
            }
            if self.receive()? == Received::End {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Undoes what other code in this process may have set.
    pub(crate) fn set_blocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(false)
    }

    /// Lets the child at the other end send one long line, in addition to what any child may send.
    pub(super) fn expect_long_line(&mut self) {
        self.inbox.allow_long_line(MAX_LINE);
    }

    /// Sends one line, and the listeners with it.
    pub(crate) fn send(&mut self, line: &str, sockets: &[&Socket]) -> io::Result<()> {
        if line.len() > MAX_LINE {
            return Err(io::Error::other(format!("a message is longer than {MAX_LINE} bytes")));
        }
        if sockets.is_empty() {
            return self.socket.write_all(format!("{line}\n").as_bytes());
        }
        if sockets.len() > MAX_SOCKETS {
            return Err(io::Error::other(format!("more than {MAX_SOCKETS} listeners for one child")));
        }
        let raw: Vec<RawFd> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        self.send_with(line, &raw)
    }

    /// Sends the secrets in a file without a name, a new one for each child: no child can alter what another
    /// gets.
    pub(super) fn send_secrets(&mut self, text: &str) -> io::Result<()> {
        let mut file = anonymous_file()?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        self.send_with(SECRETS, &[file.as_raw_fd()])
    }

    /// Takes the secrets, which follow the handshake and its listeners.
    pub(crate) fn take_secrets(&mut self) -> io::Result<String> {
        let line = self.wait_for_line()?;
        let file = self.next_descriptors().pop().filter(|_| line == SECRETS);
        let file = file.ok_or_else(|| io::Error::other("the master sent no secrets"))?;
        let mut text = String::new();
        File::from(file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Sends shared memory.
    pub(super) fn send_memory(&mut self, memory: &SharedMemory) -> io::Result<()> {
        self.send_with(MEMORY, &[memory.as_fd().as_raw_fd()])
    }

    /// Takes shared memory of this size, which follows the handshake and the secrets.
    pub(crate) fn take_memory(&mut self, size: usize) -> io::Result<SharedMemory> {
        let line = self.wait_for_line()?;
        let file = self.next_descriptors().pop().filter(|_| line == MEMORY);
        SharedMemory::adopt(file.ok_or_else(|| io::Error::other("the master sent no shared memory"))?, size)
    }

    /// Sends the other end of a channel, with a line.
    pub(super) fn send_end(&mut self, line: &str, end: BorrowedFd<'_>) -> io::Result<()> {
        self.send_with(line, &[end.as_raw_fd()])
    }

    /// Takes the end of a channel that came with a line.
    pub(crate) fn take_end(&mut self) -> io::Result<Self> {
        let end = self.next_descriptors().pop();
        let end = end.ok_or_else(|| io::Error::other("the master sent no channel"))?;
        Ok(Self::to_master(UnixStream::from(end)))
    }

    /// Lets the child at the other end send one line more than any child may.
    pub(super) fn expect_line(&mut self) {
        self.inbox.allow_line();
    }

    fn send_with(&self, line: &str, raw: &[RawFd]) -> io::Result<()> {
        let text = format!("{line}\n");
        let sent = sendmsg::<()>(
            self.socket.as_raw_fd(),
            &[IoSlice::new(text.as_bytes())],
            &[ControlMessage::ScmRights(raw)],
            MsgFlags::empty(),
            None,
        )?;
        if sent == text.len() { Ok(()) } else { Err(io::Error::other("the message was cut short")) }
    }

    /// Receives some of what has arrived. Blocks if the channel does and nothing has arrived.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] if it does not come from a prefork process.
    pub(crate) fn receive(&mut self) -> io::Result<Received> {
        let mut bytes = [0; STEP_BYTES];
        let received = match &mut self.descriptors {
            None => read(&self.socket, &mut bytes),
            Some(descriptors) => read_with_descriptors(&self.socket, &mut bytes, descriptors),
        };
        match received {
            Ok(0) => Ok(Received::End),
            Ok(length) => {
                self.inbox.push(&bytes[..length])?;
                Ok(Received::Bytes)
            }
            Err(Errno::EAGAIN) => Ok(Received::Nothing),
            // A child that was killed with unread messages resets the channel.
            Err(Errno::ECONNRESET) => Ok(Received::End),
            Err(error) => Err(error.into()),
        }
    }

    /// The next whole line that was received.
    pub(crate) fn next_line(&mut self) -> Option<String> {
        self.inbox.next_line()
    }

    /// Takes the listeners, which come with the handshake.
    pub(crate) fn take_listeners(&mut self) -> io::Result<Vec<Socket>> {
        let listeners: Vec<Socket> = self.next_descriptors().into_iter().map(Socket::from).collect();
        for listener in &listeners {
            // For systems without MSG_CMSG_CLOEXEC. A grandchild that inherits a listener keeps the port.
            nix::fcntl::fcntl(listener, nix::fcntl::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
        }
        Ok(listeners)
    }

    /// The descriptors of the next message that came with any.
    fn next_descriptors(&mut self) -> Vec<OwnedFd> {
        self.descriptors.as_mut().and_then(VecDeque::pop_front).unwrap_or_default()
    }
}

/// Reads text. The kernel closes descriptors that come with it, because there is no room for them.
fn read(socket: &UnixStream, bytes: &mut [u8]) -> nix::Result<usize> {
    loop {
        match recv(socket.as_raw_fd(), bytes, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            received => return received,
        }
    }
}

/// Reads text, and the descriptors that come with it.
fn read_with_descriptors(
    socket: &UnixStream,
    bytes: &mut [u8],
    descriptors: &mut Descriptors,
) -> nix::Result<usize> {
    let mut space = nix::cmsg_space!([RawFd; MAX_SOCKETS]);
    let mut slices = [IoSliceMut::new(bytes)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), receive_flags()) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    // There is room for what the master sends: a descriptor that is missing got no number.
    for control in message.cmsgs().map_err(|_| Errno::EMFILE)? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for this process; no other code knows them.
            descriptors.push_back(raw.into_iter().map(|raw| unsafe { OwnedFd::from_raw_fd(raw) }).collect());
        }
    }
    Ok(message.bytes)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd"))]
fn receive_flags() -> MsgFlags {
    MsgFlags::MSG_CMSG_CLOEXEC
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd", target_os = "netbsd")))]
fn receive_flags() -> MsgFlags {
    MsgFlags::empty()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn lines_and_listeners_arrive_together() {
        let (mut master, child) = Channel::pair().unwrap();
        let mut child = Channel::to_master(UnixStream::from(child));
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        master.send("prefork/1 one", &[&listener, &listener]).unwrap();
        master.send("two", &[]).unwrap();
        drop(master);
        while child.receive().unwrap() == Received::Bytes {}
        assert_eq!(child.next_line().as_deref(), Some("prefork/1 one"));
        assert_eq!(child.next_line().as_deref(), Some("two"));
        assert_eq!(child.next_line(), None);
        let received = child.take_listeners().unwrap();
        assert_eq!(received.len(), 2);
        assert_eq!(received[1].local_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn secrets_of_any_size_follow_the_handshake() {
        let (mut master, child) = Channel::pair().unwrap();
        let mut child = Channel::to_master(UnixStream::from(child));
        let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
        let secrets = "secret\n".repeat(100_000);
        master.send("prefork/1 secrets=true", &[&listener]).unwrap();
        master.send_secrets(&secrets).unwrap();
        master.send("announce_stop", &[]).unwrap();
        assert_eq!(child.wait_for_line().unwrap(), "prefork/1 secrets=true");
        assert_eq!(child.take_listeners().unwrap().len(), 1);
        assert_eq!(child.take_secrets().unwrap(), secrets);
        assert_eq!(child.wait_for_line().unwrap(), "announce_stop");
        master.send("anything else", &[]).unwrap();
        child.take_secrets().unwrap_err();
    }

    #[test]
    fn secrets_follow_a_handshake_that_is_received_in_parts() {
        for length in [STEP_BYTES - 1, STEP_BYTES, 2 * STEP_BYTES + 1] {
            let (mut master, child) = Channel::pair().unwrap();
            let mut child = Channel::to_master(UnixStream::from(child));
            let listener = Socket::from(TcpListener::bind("127.0.0.1:0").unwrap());
            let handshake = "x".repeat(length);
            master.send(&handshake, &[&listener]).unwrap();
            master.send_secrets("secret").unwrap();
            assert_eq!(child.wait_for_line().unwrap(), handshake);
            assert_eq!(child.take_listeners().unwrap().len(), 1, "{length} bytes");
            assert_eq!(child.take_secrets().unwrap(), "secret", "{length} bytes");
        }
    }

    #[test]
    fn descriptors_of_a_child_are_closed_and_its_text_is_read() {
        let (mut master, child) = Channel::pair().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = Channel::to_master(UnixStream::from(child));
        child.send_with("ready", &[theirs.as_raw_fd(); MAX_SOCKETS]).unwrap();
        drop(theirs);
        assert_eq!(master.receive().unwrap(), Received::Bytes);
        assert_eq!(master.next_line().as_deref(), Some("ready"));
        // The other end of what was sent is closed everywhere.
        ours.set_nonblocking(true).unwrap();
        assert_eq!((&ours).read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn flood_of_a_child_is_refused() {
        let (mut master, child) = Channel::pair().unwrap();
        let mut child = UnixStream::from(child);
        child.write_all(&b"ready\n".repeat(1000)).unwrap();
        let outcome = loop {
            match master.receive() {
                Ok(Received::Bytes) => {}
                other => break other,
            }
        };
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn what_a_child_has_sent_is_read_although_it_has_left_messages_unread() {
        let (mut master, child) = Channel::pair().unwrap();
        let mut child = UnixStream::from(child);
        master.send("unread", &[]).unwrap();
        let lines = format!("log text={}\n", "x".repeat(200)).repeat(8);
        child.write_all(lines.as_bytes()).unwrap();
        drop(child);
        let mut read = 0;
        while master.receive().unwrap() == Received::Bytes {
            read += std::iter::from_fn(|| master.next_line()).count();
        }
        assert_eq!(read, 8);
    }

    #[test]
    fn line_without_end_is_refused() {
        let (mut master, child) = Channel::pair().unwrap();
        let mut child = Channel::to_master(UnixStream::from(child));
        assert!(master.send(&"x".repeat(2 * MAX_LINE), &[]).is_err());
        master.socket.write_all("x".repeat(2 * MAX_LINE).as_bytes()).unwrap();
        let outcome = loop {
            match child.receive() {
                Ok(Received::Bytes) => {}
                other => break other,
            }
        };
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
