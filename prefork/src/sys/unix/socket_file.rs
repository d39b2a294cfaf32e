//! Unix sockets: their files, with mode and owner, and names without a file.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, Flock, FlockArg};
use nix::libc;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, umask};
use nix::unistd::{Gid, Uid, fchownat};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::sys::SocketFileOptions;

/// Another master holds the lock for a few system calls.
const LOCK_LIMIT: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// The file of a Unix socket that this process has bound. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, to tell whether the file at the path is still the one that was bound.
    identity: (u64, u64),
    /// Until the socket listens, another master would take it for one that was left behind.
    directory: Option<Flock<File>>,
}

impl SocketFile {
    /// Binds a socket to `path`, with its mode from the start, and then sets its owner. Replaces a socket
    /// without a listener. Call [`listens`](Self::listens) once it listens.
    pub(crate) fn bind(path: &Path, options: SocketFileOptions) -> io::Result<(Socket, Self)> {
        let path = std::path::absolute(path)?;
        let directory = lock_directory_of(&path);
        remove_stale(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        bind_with_mode(&socket, &SockAddr::unix(&path)?, options.mode)?;
        let file = Self { identity: identity(&path)?, path, directory };
        change_owner(&file.path, options)?;
        Ok((socket, file))
    }

    /// The file of a socket that the previous program in this process has bound, if it is still there.
    pub(crate) fn adopt(path: &Path, identity: (u64, u64)) -> io::Result<Self> {
        let file = Self { path: std::path::absolute(path)?, identity, directory: None };
        if file.is_in_place() { Ok(file) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Device and inode.
    pub(crate) fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Sets mode and owner, unless another file has taken its place.
    pub(crate) fn set_options(&self, options: SocketFileOptions) -> io::Result<()> {
        if !self.is_in_place() {
            return Ok(());
        }
        if let Some(mode) = options.mode {
            #[allow(clippy::useless_conversion, reason = "the type is narrower on some systems")]
            let mode = libc::mode_t::try_from(mode).map_err(io::Error::other)?;
            // The owner of the directory can replace the file by a link at any time: a link is not followed.
            let flags = FchmodatFlags::NoFollowSymlink;
            fchmodat(AT_FDCWD, &self.path, Mode::from_bits_truncate(mode), flags)?;
        }
        change_owner(&self.path, options)
    }

    /// From now on others can see that the socket is in use.
    pub(crate) fn listens(&mut self) {
        self.directory = None;
    }

    /// Whether the path still leads to this socket.
    pub(crate) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

impl Drop for SocketFile {
    /// Removes the file, unless another one has taken its place.
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Changes the owner of the socket's own file. The owner of the directory can replace the file by a link at
/// any time: a link is never followed.
fn change_owner(path: &Path, options: SocketFileOptions) -> io::Result<()> {
    let (user, group) = (options.user.map(Uid::from_raw), options.group.map(Gid::from_raw));
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    Ok(fchownat(AT_FDCWD, path, user, group, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

/// Locks the directory, so that of two masters that start at once the second sees the socket of the first. A lock
/// that is not to be had in time, or not at all, is done without.
fn lock_directory_of(path: &Path) -> Option<Flock<File>> {
    let mut directory = File::open(path.parent()?).ok()?;
    let until = Instant::now() + LOCK_LIMIT;
    loop {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Some(locked),
            Err((file, Errno::EWOULDBLOCK)) if Instant::now() < until => directory = file,
            Err(_) => return None,
        }
        thread::sleep(LOCK_PAUSE);
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes what is at `path` if that is a socket without a listener.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(io::Error::other("the file there is not a socket; remove it, or choose another path"));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A listener whose queue is full keeps a blocking connect waiting for ever.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => Err(Errno::EADDRINUSE.into()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // A full queue has a listener. Other errors do not tell whether there is one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Errno::EADDRINUSE.into()),
        Err(error) => Err(error),
    }
}

/// Sets the mode by the process's umask, so that the file never has a wider one.
fn bind_with_mode(socket: &Socket, addr: &SockAddr, mode: Option<u32>) -> io::Result<()> {
    let Some(mode) = mode else { return socket.bind(addr) };
    #[allow(clippy::useless_conversion, reason = "the type is narrower on some systems")]
    let hidden = libc::mode_t::try_from(0o777 & !mode).map_err(io::Error::other)?;
    let before = umask(Mode::from_bits_truncate(hidden));
    let bound = socket.bind(addr);
    umask(before);
    bound
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    const ANY: SocketFileOptions = SocketFileOptions { mode: None, user: None, group: None };

    fn directory() -> PathBuf {
        nix::unistd::mkdtemp(&std::env::temp_dir().join("prefork-test-XXXXXX")).unwrap()
    }

    #[test]
    fn socket_of_another_master_that_is_about_to_listen_is_not_removed() {
        let directory = directory();
        let path = directory.join("socket");
        let (socket, mut file) = SocketFile::bind(&path, ANY).unwrap();
        let other = {
            let path = path.clone();
            thread::spawn(move || SocketFile::bind(&path, ANY).map(drop))
        };
        socket.listen(1).unwrap();
        file.listens();
        assert_eq!(other.join().unwrap().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(file);
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn file_has_its_mode_and_is_removed_on_drop() {
        let directory = directory();
        let path = directory.join("socket");
        let (socket, file) = SocketFile::bind(&path, SocketFileOptions { mode: Some(0o620), ..ANY }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        socket.listen(1).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn listener_with_full_queue_is_in_use() {
        let directory = directory();
        let path = directory.join("socket");
        let listener = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        listener.listen(0).unwrap();
        let connect = || {
            let client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            client.set_nonblocking(true).unwrap();
            client.connect(&SockAddr::unix(&path).unwrap()).map(|()| client)
        };
        let queued: Vec<Socket> = std::iter::from_fn(|| connect().ok()).take(64).collect();
        assert!(queued.len() < 64, "the queue never fills");
        assert_eq!(SocketFile::bind(&path, ANY).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn change_of_owner_does_not_follow_a_link() {
        if !Uid::effective().is_root() {
            return crate::skip::skipped("root");
        }
        let directory = directory();
        let (target, link) = (directory.join("target"), directory.join("link"));
        fs::write(&target, "").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        change_owner(&link, SocketFileOptions { user: Some(1), ..ANY }).unwrap();
        assert_eq!(fs::metadata(&target).unwrap().uid(), 0);
        assert_eq!(fs::symlink_metadata(&link).unwrap().uid(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn stale_socket_is_replaced_and_other_files_stay() {
        let directory = directory();
        let path = directory.join("socket");
        let theirs = UnixListener::bind(&path).unwrap();
        assert_eq!(SocketFile::bind(&path, ANY).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(theirs);
        let (_socket, ours) = SocketFile::bind(&path, ANY).unwrap();
        assert!(ours.is_in_place());
        // Another socket takes the path: it must not be removed.
        fs::remove_file(&path).unwrap();
        let _theirs = UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        assert!(SocketFile::bind(&path, ANY).unwrap_err().to_string().contains("not a socket"));
        assert!(path.exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
