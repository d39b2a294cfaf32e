//! A server that accepts with io_uring: one multishot accept, and a thread for each connection. Once it has to
//! stop it cancels the accept, and serves what the kernel has accepted by then.

#[cfg(target_os = "linux")]
mod server {
    use std::fs::File;
    use std::io::{self, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::thread;

    use io_uring::{IoUring, cqueue, opcode, squeue, types};
    use nix::sys::eventfd::EventFd;
    use prefork::Shutdown;
    use prefork_tests::app;

    const ACCEPT: u64 = 1;
    const STOP: u64 = 2;
    const CANCEL: u64 = 3;

    pub(super) fn serve(ln: TcpListener, shutdown: Shutdown) -> io::Result<()> {
        let mut ring = IoUring::new(64)?;
        let stop = EventFd::new()?;
        let mut stop_end = File::from(nix::unistd::dup(&stop)?);
        thread::spawn(move || {
            shutdown.wait();
            stop_end.write_all(&1_u64.to_ne_bytes())
        });
        let accept = opcode::AcceptMulti::new(types::Fd(ln.as_raw_fd())).build().user_data(ACCEPT);
        push(&mut ring, &accept)?;
        let stopped = opcode::PollAdd::new(types::Fd(stop.as_raw_fd()), 1).build().user_data(STOP);
        push(&mut ring, &stopped)?;
        let mut threads = Vec::new();
        loop {
            ring.submit_and_wait(1)?;
            let completions: Vec<cqueue::Entry> = ring.completion().collect();
            for completion in completions {
                match completion.user_data() {
                    ACCEPT => {
                        if completion.result() >= 0 {
                            // SAFETY: the kernel has just made this descriptor, for this completion alone.
                            let stream = unsafe { TcpStream::from_raw_fd(completion.result()) };
                            threads.push(thread::spawn(move || app::answer(stream)));
                        }
                        if !cqueue::more(completion.flags()) {
                            threads.into_iter().for_each(|thread| drop(thread.join()));
                            return Ok(());
                        }
                    }
                    STOP => push(&mut ring, &opcode::AsyncCancel::new(ACCEPT).build().user_data(CANCEL))?,
                    _ => {}
                }
            }
        }
    }

    fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: the entry names descriptors that live as long as the ring, and no memory.
        unsafe { ring.submission().push(entry) }.map_err(io::Error::other)
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    prefork_tests::app::start(prefork_tests::app::builder(server::serve))
}

#[cfg(not(target_os = "linux"))]
fn main() {}
