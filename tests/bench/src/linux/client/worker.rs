//! A thread of the load generator.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::{Events, Poll};

use super::connection::{Connection, Failure, Step};
use super::{Load, Outcome, Window};

/// How long a connection that failed is not opened again, and the time between two looks at the end.
const PAUSE: Duration = Duration::from_millis(5);
/// How long answers are waited for after the end.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Worker<'a> {
    load: &'a Load,
    request: Vec<u8>,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    outcome: Outcome,
    buffer: Vec<u8>,
    /// A failed connection waits in `connections` as `None`.
    failed: bool,
    /// Answers are counted from this on, and until `over`.
    begun: bool,
    over: bool,
    in_progress: usize,
    /// Connections that have had their first answer, and are not told of yet.
    warmed: usize,
}

impl<'a> Worker<'a> {
    pub(super) fn new(load: &'a Load, connections: usize) -> io::Result<Self> {
        let keeps = if load.fresh { "Connection: close\r\n" } else { "" };
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n{keeps}\r\n", load.path).into_bytes();
        Ok(Self {
            load,
            request,
            poll: Poll::new()?,
            connections: (0..connections).map(|_| None).collect(),
            outcome: Outcome::default(),
            buffer: vec![0; 128 * 1024],
            failed: true,
            begun: false,
            over: false,
            in_progress: 0,
            warmed: 0,
        })
    }

    pub(super) fn run(&mut self, window: &Window) -> io::Result<Outcome> {
        let mut events = Events::with_capacity(1024);
        let mut last_opened: Option<Instant> = None;
        let mut end = None;
        loop {
            if self.failed && !self.over && last_opened.is_none_or(|at| at.elapsed() >= PAUSE) {
                last_opened = Some(Instant::now());
                self.failed = false;
                (0..self.connections.len()).try_for_each(|place| self.open_if_closed(place))?;
            }
            match self.poll.poll(&mut events, Some(PAUSE)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if !self.begun && window.begun.load(Ordering::Relaxed) {
                self.begun = true;
                self.outcome = Outcome::default();
            }
            for event in &events {
                self.advance(event.token().0)?;
            }
            window.warm.fetch_add(std::mem::take(&mut self.warmed), Ordering::Relaxed);
            self.over = window.over.load(Ordering::Relaxed);
            if self.over
                && (self.in_progress == 0 || end.get_or_insert_with(Instant::now).elapsed() > PATIENCE)
            {
                break;
            }
        }
        self.outcome.lost += self.in_progress as u64;
        Ok(std::mem::take(&mut self.outcome))
    }

    fn open_if_closed(&mut self, place: usize) -> io::Result<()> {
        if self.connections[place].is_none() {
            self.open(place)?;
        }
        Ok(())
    }

    fn open(&mut self, place: usize) -> io::Result<()> {
        self.connections[place] = match Connection::open(self.load, self.poll.registry(), place) {
            Ok(connection) => Some(connection),
            // Where all ports are taken.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => None,
            Err(error) => return Err(error),
        };
        let is_open = self.connections[place].is_some();
        self.in_progress += usize::from(is_open);
        self.failed |= !is_open;
        Ok(())
    }

    fn advance(&mut self, place: usize) -> io::Result<()> {
        loop {
            let Some(connection) = &mut self.connections[place] else { return Ok(()) };
            match connection.advance(&self.request, &mut self.buffer) {
                Step::Pending => return Ok(()),
                Step::Answered(now) => {
                    // The answers to what was sent before the window are in it; those after its end are not.
                    if !(self.begun && self.over) {
                        let latency = (now - connection.started()).as_nanos();
                        self.outcome.latencies.push(u32::try_from(latency).unwrap_or(u32::MAX));
                    }
                    self.in_progress -= 1;
                    self.warmed += usize::from(connection.is_new());
                    if self.over {
                        self.connections[place] = None;
                    } else if self.load.fresh {
                        return self.open(place);
                    } else {
                        connection.again(now);
                        self.in_progress += 1;
                    }
                }
                Step::Failed(failure) => {
                    self.count(failure);
                    self.connections[place] = None;
                    self.failed = true;
                    self.in_progress -= 1;
                }
            }
        }
    }

    fn count(&mut self, failure: Failure) {
        match failure {
            Failure::Refused => self.outcome.refused += 1,
            Failure::Closed => self.outcome.closed += 1,
            Failure::Lost(error) => {
                self.outcome.lost += 1;
                self.outcome.error.get_or_insert(error);
            }
        }
    }
}
