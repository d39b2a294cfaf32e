//! The load generator: each thread serves its connections with one event loop.
//!
//! The load is closed: a connection sends its next request when it has the answer to the last one. It has one thread
//! for each core, so that no thread of its own limits what a server can do; it shares the cores with the server, as
//! any client on the same machine does. Nothing is pinned: contenders with as many processes as cores would all have
//! to be pinned alike, and the scheduler's work is a part of what is compared. The CPU time of the server is measured
//! apart from the client's.

mod connection;
mod simple;
mod tls;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use simple::{Held, ask_pids, is_up};
pub(crate) use tls::client_config;

use self::worker::Worker;
use super::BenchResult;
use super::machine::cores;

/// What is sent.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) addr: SocketAddr,
    pub(crate) path: &'static str,
    pub(crate) connections: usize,
    /// A connection for each request.
    pub(crate) fresh: bool,
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// What became of the requests.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// From the beginning of a request, or of its connection, to the last byte of its answer, in nanoseconds.
    pub(crate) latencies: Vec<u32>,
    /// Requests whose connection ended without the answer, or with a part of it.
    pub(crate) lost: u64,
    /// Kept connections that were closed when the next request was already on its way: HTTP clients send it again.
    pub(crate) closed: u64,
    /// Connections that were refused.
    pub(crate) refused: u64,
    /// The first error that lost a request.
    pub(crate) error: Option<String>,
}

impl Outcome {
    pub(crate) fn answered(&self) -> usize {
        self.latencies.len()
    }

    fn plus(mut self, mut other: Self) -> Self {
        self.latencies.append(&mut other.latencies);
        self.lost += other.lost;
        self.closed += other.closed;
        self.refused += other.refused;
        self.error = self.error.or(other.error);
        self
    }
}

/// What happens meanwhile tells here what is to be counted.
#[derive(Default)]
pub(crate) struct Window {
    begun: AtomicBool,
    over: AtomicBool,
    /// Connections that have had an answer.
    warm: AtomicUsize,
}

impl Window {
    /// Waits until each connection has had an answer, so that no handshake of a kept one is measured.
    pub(crate) fn warm_up(&self, connections: usize, at_least: Duration, at_most: Duration) {
        let start = Instant::now();
        while start.elapsed() < at_most
            && (start.elapsed() < at_least || self.warm.load(Ordering::Relaxed) < connections)
        {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Forgets what was counted until now.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Sends requests while `meanwhile` runs, and waits for the answers to what was sent.
    pub(crate) fn during<T>(&self, meanwhile: impl FnOnce(&Window) -> T) -> BenchResult<(Outcome, T)> {
        let window = Window::default();
        let threads = cores().min(self.connections);
        thread::scope(|scope| {
            let window = &window;
            let run = |number: usize| {
                let own = self.connections / threads + usize::from(number < self.connections % threads);
                let run = |mut worker: Worker<'_>| worker.run(window);
                Worker::new(self, own).and_then(run).map_err(|error| error.to_string())
            };
            let workers: Vec<_> = (0..threads).map(|number| scope.spawn(move || run(number))).collect();
            // The scope waits for its threads: they have to end also if this panics.
            let ends = Ends(&window.over);
            let value = meanwhile(window);
            drop(ends);
            let mut total = Outcome::default();
            for worker in workers {
                total = total.plus(worker.join().map_err(|_| "a thread of the client panicked")??);
            }
            total.latencies.sort_unstable();
            Ok((total, value))
        })
    }
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
