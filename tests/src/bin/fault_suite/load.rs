//! Clients that send requests all the time, and count each of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use prefork_tests::accepts::Stage;

use crate::journal::{Millis, now};
use crate::oracle::{Failure, Reason};
use crate::wire::{Broken, Connection, Target};

/// A kept connection that was idle for longer is not used again: a server may close it.
const IDLE_LIMIT: Duration = Duration::from_millis(150);
/// The longest pause between two requests, and the longest time that a slow request takes.
const PAUSE: u64 = 40;
const SLOW: u64 = 1500;

/// The further pause after a refused connection: no fleet listens.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// What all clients together have counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) sent: AtomicU64,
    pub(crate) answered: AtomicU64,
    /// Requests on a kept connection that the server had closed as idle; they were sent again.
    pub(crate) repeated: AtomicU64,
    /// The longest time until an answer.
    pub(crate) slowest: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    target: Arc<Target>,
    keeps: bool,
    over: AtomicBool,
    counts: Counts,
    failures: Mutex<Vec<Failure>>,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients. `keeps`: the server lets a connection bring several requests.
    pub(crate) fn start(target: &Arc<Target>, keeps: bool, clients: usize, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            target: Arc::clone(target),
            keeps,
            over: AtomicBool::new(false),
            counts: Counts::default(),
            failures: Mutex::default(),
        });
        let start = |number: usize| {
            let shared = Arc::clone(&shared);
            let random = fastrand::Rng::with_seed(seed ^ number as u64);
            thread::spawn(move || Client { shared, random, number, count: 0, kept: None }.run())
        };
        let clients = (0..clients).map(start).collect();
        Self { shared, clients }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// The failures since the last call.
    pub(crate) fn take_failures(&self) -> Vec<Failure> {
        std::mem::take(&mut *self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets each client finish its request.
    pub(crate) fn stop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            if client.join().is_err() {
                eprintln!("a client panicked");
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
    }
}

struct Client {
    shared: Arc<Shared>,
    random: fastrand::Rng,
    number: usize,
    count: u64,
    /// A connection that may be used again, and since when it is idle.
    kept: Option<(Connection, Instant)>,
}

impl Client {
    fn run(mut self) {
        while !self.shared.over.load(Ordering::SeqCst) {
            self.count += 1;
            let id = format!("{}.{}", self.number, self.count);
            // Half of the clients keep their connections, a quarter sends slow requests.
            let path = if self.number % 4 == 3 {
                format!("/slow/{}/{id}", self.random.u64(..SLOW))
            } else {
                format!("/r/{id}")
            };
            if self.number.is_multiple_of(2) || !self.shared.keeps {
                self.kept = None;
            }
            self.request(&path, &id);
            thread::sleep(Duration::from_millis(self.random.u64(..PAUSE)));
        }
    }

    fn request(&mut self, path: &str, id: &str) {
        let counts = &self.shared.counts;
        counts.sent.fetch_add(1, Ordering::Relaxed);
        let (began, start) = (now(), Instant::now());
        let outcome = match self.kept.take().filter(|(_, since)| since.elapsed() < IDLE_LIMIT) {
            // On a busy machine it may have been idle for longer than this client has noticed.
            Some((connection, _)) if connection.is_closed() => {
                counts.repeated.fetch_add(1, Ordering::Relaxed);
                self.open_and_send(path, id)
            }
            Some((connection, since)) => self.use_again(connection, since, path, id),
            None => self.open_and_send(path, id),
        };
        match outcome {
            Ok(kept) => {
                let millis = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                counts.answered.fetch_add(1, Ordering::Relaxed);
                counts.slowest.fetch_max(millis, Ordering::Relaxed);
                self.kept = kept.map(|connection| (connection, Instant::now()));
            }
            Err((broken, connection)) => {
                let failure = self.failure(path, began, &broken, connection.as_ref());
                let refused = broken.reason == Reason::Refused;
                self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
                if refused {
                    thread::sleep(REFUSED_PAUSE);
                }
            }
        }
    }

    fn use_again(
        &self,
        mut connection: Connection,
        since: Instant,
        path: &str,
        id: &str,
    ) -> Result<Option<Connection>, (Broken, Option<Connection>)> {
        let sent = connection.send(path);
        let idle = since.elapsed();
        match sent.and_then(|()| connection.receive(id)) {
            Ok(again) => Ok(again.then_some(connection)),
            // HTTP lets a server close an idle connection at any time. This client was too late.
            Err(broken) if broken.reason == Reason::Closed && idle >= IDLE_LIMIT => {
                let accepted = connection.accepted(&self.shared.target);
                if accepted.is_none_or(|accepted| accepted.stage != Stage::Closed) {
                    return Err((broken, Some(connection)));
                }
                self.shared.counts.repeated.fetch_add(1, Ordering::Relaxed);
                self.open_and_send(path, id)
            }
            Err(broken) => Err((broken, Some(connection))),
        }
    }

    fn open_and_send(
        &self,
        path: &str,
        id: &str,
    ) -> Result<Option<Connection>, (Broken, Option<Connection>)> {
        let mut connection = Connection::open(&self.shared.target).map_err(|broken| (broken, None))?;
        match connection.send(path).and_then(|()| connection.receive(id)) {
            Ok(again) => Ok(again.then_some(connection)),
            Err(broken) => Err((broken, Some(connection))),
        }
    }

    fn failure(
        &self,
        path: &str,
        began: Millis,
        broken: &Broken,
        connection: Option<&Connection>,
    ) -> Failure {
        let accepted = connection.and_then(|connection| connection.accepted(&self.shared.target));
        let stage = accepted.map_or_else(
            || "no child accepted it".to_owned(),
            |accepted| {
                let ago = now().saturating_sub(accepted.at / 1_000_000);
                format!("child {} had {:?} it {ago} ms before", accepted.pid, accepted.stage)
            },
        );
        Failure {
            what: format!("GET {path}: {} ({}); {stage}", broken.reason.name(), broken.detail),
            reason: broken.reason,
            began,
            failed: now(),
            server: accepted.map(|accepted| accepted.pid),
        }
    }
}
