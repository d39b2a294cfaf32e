//! A listening Unix socket that no client knows.

use std::io;
use std::os::unix::net::UnixListener;

use socket2::Socket;

/// Its file is removed at once.
pub(in crate::sys) fn listen_on_unix_socket() -> io::Result<Socket> {
    let directory = nix::unistd::mkdtemp(&std::env::temp_dir().join("prefork-XXXXXX"))?;
    let path = directory.join("decoy");
    let listener = UnixListener::bind(&path);
    let _ = std::fs::remove_file(&path);
    let _ = std::fs::remove_dir(&directory);
    Ok(listener?.into())
}
