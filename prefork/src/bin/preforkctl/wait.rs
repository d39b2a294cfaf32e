//! The end of a reload that holds: a reload with a canary is answered when it begins to hold.
//!
//! What counts is `/status`, which is asked for each second and at each event. `/events` tells the reason of a rollback,
//! also what the failing child has said, and an end that another change has followed at once; without it, `/status` is
//! enough.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::client::Client;
use crate::failure::Failure;
use crate::operation::{self, Progress, say};
use crate::run;
use crate::shown;
use crate::status::{Status, age_text};

/// Between two looks at the fleet.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long an event may come later than the status that it explains.
const EVENT_DELAY: Duration = Duration::from_millis(300);
/// The looks at the fleet that may fail one after the other: an upgrade may make a lost socket anew.
const ATTEMPTS: u32 = 5;
/// The events that wait to be taken, and how many are taken between two looks at the fleet.
const EVENTS_MAX: usize = 64;
/// How long a rollback may make no progress. The reload has failed by then, whatever becomes of the rollback.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(60);
/// How much the time at which a master has started may differ, in seconds: `/status` tells whole seconds, which another
/// version of the program may round otherwise.
const START_TOLERANCE: f64 = 1.5;
/// The warnings and errors of new children that are kept and shown: the last ones tell why one has failed.
const REASONS_MAX: usize = 20;
/// The events that tell how a reload goes on after it holds.
const EVENTS: [&str; 11] = [
    "promoted",
    "reload_resumed",
    "reloaded",
    "reload_aborted",
    "rolling_back",
    "rolled_back",
    "restore_retried",
    "stop_delayed",
    "stopping",
    "stopping_at_once",
    "stopped",
];

/// A line of `/events`.
#[derive(Debug, Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    level: String,
    generation: Option<u64>,
    slot: Option<u64>,
    #[serde(default, deserialize_with = "shown::field")]
    message: String,
    /// `child` if a child has logged it, under a name of its choice.
    from: Option<String>,
}

/// How the reload has ended. `result` is a word of the control socket.
#[derive(Debug, PartialEq, Eq)]
struct Ending {
    result: &'static str,
    message: String,
}

impl Ending {
    fn new(result: &'static str, message: impl Into<String>) -> Self {
        Self { result, message: message.into() }
    }
}

/// Finds out how the reload to a generation ends. It has no clock and no connection.
#[derive(Debug)]
struct Watch {
    generation: u64,
    master: u32,
    started_at: Option<f64>,
    /// Whether the fleet has said that it is complete.
    is_complete: bool,
    /// Whether the fleet has said that it stops.
    stops: bool,
    /// What the fleet has said of its failure.
    failure: Option<String>,
    /// Whether that is a rollback.
    rolls_back: bool,
    /// What the fleet has said of a slot that it cannot restore for now.
    stuck: Option<String>,
    /// The last warnings and errors about new children, by themselves and by the master.
    reasons: VecDeque<String>,
    /// The slots that a rollback has restored, and since when there are so many.
    restored: Option<(u64, Instant)>,
}

/// Asks for a reload, and waits until it is complete, or will not be.
pub(crate) fn reload(client: &Client, path: &str, json: bool) -> Result<(), Failure> {
    let before = run::status(client)?;
    let events = follow(client.clone());
    let start = Instant::now();
    let outcome = operation::ask(client, path, json)?;
    if !json {
        say(&mut io::stderr(), &outcome.message);
    }
    let mut watch = Watch::new(outcome.generation, &before);
    let (ending, generation) = watch.wait(client, &events, json)?;
    let Ending { result, message } = ending;
    let seconds = start.elapsed().as_secs_f64();
    if json {
        let seconds = (seconds * 1000.0).round() / 1000.0;
        let line = serde_json::json!({ "operation": "reload", "result": result, "message": message,
            "generation": generation, "seconds": seconds, "log": watch.reasons });
        say(&mut io::stdout(), &line.to_string());
    } else if result == "done" {
        say(&mut io::stdout(), &format!("{message} ({seconds:.1} s)"));
    }
    if result == "done" { Ok(()) } else { Err(Failure::NotDone(message)) }
}

/// The events that matter from now on; follows again after a lost connection.
fn follow(client: Client) -> Receiver<Event> {
    let (sender, receiver) = mpsc::sync_channel(EVENTS_MAX);
    // The first connection is made before the reload is asked for: nothing of it is missed.
    let mut stream = client.follow("/events");
    thread::spawn(move || {
        loop {
            if let Some(answer) = stream.ok().filter(|answer| answer.status == 200) {
                for event in answer.lines().map_while(Result::ok).filter_map(|line| Event::of(&line)) {
                    if sender.send(event).is_err() {
                        return;
                    }
                }
            }
            thread::sleep(INTERVAL);
            stream = client.follow("/events");
        }
    });
    receiver
}

impl Event {
    fn of(line: &str) -> Option<Self> {
        let event: Self = serde_json::from_str(line).ok()?;
        (event.is_course() || event.is_reason()).then_some(event)
    }

    /// Whether it tells how the reload goes on. Only the master knows that.
    fn is_course(&self) -> bool {
        self.from.is_none() && EVENTS.contains(&self.event.as_str())
    }

    /// Whether it may tell why a child has failed.
    fn is_reason(&self) -> bool {
        self.slot.is_some() && ["warn", "error"].contains(&self.level.as_str())
    }
}

impl Watch {
    fn new(generation: u64, fleet: &Status) -> Self {
        let Status { master, started_at, .. } = *fleet;
        Self {
            generation,
            master,
            started_at,
            is_complete: false,
            stops: false,
            failure: None,
            rolls_back: false,
            stuck: None,
            reasons: VecDeque::new(),
            restored: None,
        }
    }

    /// Returns the end, and the fleet's generation then.
    fn wait(
        &mut self,
        client: &Client,
        events: &Receiver<Event>,
        quiet: bool,
    ) -> Result<(Ending, u64), Failure> {
        let mut progress = Progress::default();
        let (mut failed, mut seen) = (0, self.generation);
        loop {
            self.take(events, Duration::ZERO, &mut progress, quiet);
            match run::status(client) {
                Ok(status) => {
                    (failed, seen) = (0, status.generation);
                    if self.turn(&status).is_some_and(|ending| ending.result != "done") {
                        // The events tell the reason, or that it was done before something else began.
                        self.take(events, EVENT_DELAY, &mut progress, quiet);
                    }
                    if let Some(ending) = self.turn(&status).or_else(|| self.stall(&status, Instant::now())) {
                        progress.end();
                        return Ok((ending, status.generation));
                    }
                    if !quiet {
                        progress.show(&progress_text(&status, io::stderr().is_terminal()));
                    }
                }
                Err(failure) => {
                    failed += 1;
                    if let Some(ending) = self.told() {
                        progress.end();
                        return Ok((ending, seen));
                    }
                    if failed == ATTEMPTS {
                        progress.end();
                        return Err(self.lost(&failure));
                    }
                }
            }
            self.take(events, INTERVAL, &mut progress, quiet);
        }
    }

    /// Takes the events that are there. If there are none, waits for the first one.
    fn take(&mut self, events: &Receiver<Event>, wait: Duration, progress: &mut Progress, quiet: bool) {
        let first = events.recv_timeout(wait).ok();
        for event in first.into_iter().chain(events.try_iter()).take(EVENTS_MAX) {
            if self.note(&event) && !quiet {
                progress.end();
                say(&mut io::stderr(), &format!("  {}", event.message));
            }
        }
    }

    /// Notes what the fleet says. Returns whether it is shown: it is about this reload, and is not said in the end.
    fn note(&mut self, event: &Event) -> bool {
        let is_this = event.generation == Some(self.generation);
        if !event.is_course() {
            return is_this && self.note_reason(event);
        }
        let message = || Some(event.message.clone());
        match event.event.as_str() {
            "reloaded" if is_this => {
                self.is_complete = true;
                // It is what is said in the end.
                return false;
            }
            "promoted" | "reload_resumed" if is_this => {}
            "rolling_back" if is_this => (self.failure, self.rolls_back) = (message(), true),
            // It tells the generation that is restored.
            "rolled_back" if self.rolls_back => self.stuck = None,
            "restore_retried" if self.rolls_back => self.stuck = message(),
            // It tells no generation: only one reload can be under way.
            "reload_aborted" => self.failure = message(),
            "stop_delayed" | "stopping" | "stopping_at_once" | "stopped" => self.stops = true,
            _ => return false,
        }
        true
    }

    fn note_reason(&mut self, event: &Event) -> bool {
        self.reasons.push_back(event.message.clone());
        if self.reasons.len() > REASONS_MAX {
            self.reasons.pop_front();
        }
        true
    }

    /// How the reload has ended, if it has.
    fn turn(&self, status: &Status) -> Option<Ending> {
        let (generation, now) = (self.generation, status.generation);
        let is_upgrade = status.operation.as_ref().is_some_and(|operation| operation.name == "upgrade");
        if let Some(told) = self.told() {
            return Some(told);
        }
        Some(match status.state.as_str() {
            _ if !self.is_same_fleet(status) => {
                Ending::new("cancelled", "the fleet has ended meanwhile, and another one was started")
            }
            "stop-delay" | "stopping" => self.cancelled(),
            // The hold begins anew if the upgrade fails.
            _ if now > generation && is_upgrade => return None,
            _ if now > generation => {
                let message = format!("generation {now} has taken the place of generation {generation}");
                Ending::new("superseded", message)
            }
            "serving" if now < generation => Ending::new("aborted", self.undone(now)),
            "serving" if self.is_everywhere(status) => self.done(),
            _ => Ending::new("aborted", self.stuck.as_ref()?),
        })
    }

    /// How it has ended, if a rollback goes on that makes no progress: its end need not come.
    fn stall(&mut self, status: &Status, now: Instant) -> Option<Ending> {
        let rollback = status.operation.as_ref().filter(|_| status.generation < self.generation);
        let Some(restored) = rollback.map(|rollback| rollback.replaced) else {
            self.restored = None;
            return None;
        };
        let (_, since) = *self.restored.insert(match self.restored {
            Some((before, since)) if before == restored => (before, since),
            _ => (restored, now),
        });
        (now.duration_since(since) >= ROLLBACK_LIMIT).then(|| {
            let failure = self.failure.iter().map(|failure| format!("{failure}; "));
            let stalled = format!("the rollback of generation {} makes no progress", self.generation);
            Ending::new("aborted", failure.chain([stalled]).collect::<String>())
        })
    }

    /// How it has ended by the events alone.
    fn told(&self) -> Option<Ending> {
        if self.is_complete {
            return Some(self.done());
        }
        self.stops.then(|| self.cancelled())
    }

    fn done(&self) -> Ending {
        Ending::new("done", format!("reloaded: every child is of generation {}", self.generation))
    }

    fn cancelled(&self) -> Ending {
        let generation = self.generation;
        Ending::new(
            "cancelled",
            format!("the fleet was asked to stop: generation {generation} is not complete"),
        )
    }

    fn undone(&self, now: u64) -> String {
        match &self.failure {
            Some(failure) if self.rolls_back => format!("{failure}; the fleet is of generation {now} again"),
            // Some children may be new.
            Some(failure) => failure.clone(),
            None => format!(
                "generation {} is not complete: the fleet is of generation {now} again",
                self.generation
            ),
        }
    }

    /// An upgrade changes neither the master's pid nor the time of its start.
    fn is_same_fleet(&self, status: &Status) -> bool {
        let started = self.started_at.zip(status.started_at);
        status.master == self.master
            && started.is_none_or(|(before, now)| (before - now).abs() < START_TOLERANCE)
    }

    /// Whether no child of another generation serves.
    fn is_everywhere(&self, status: &Status) -> bool {
        let is_new = |child: &crate::status::Row| child.generation == self.generation;
        status.children.iter().all(|child| is_new(child) || child.state == "stopping")
    }

    fn lost(&self, failure: &Failure) -> Failure {
        let generation = self.generation;
        Failure::NoFleet(format!("{failure}; generation {generation} was not complete when it answered last"))
    }
}

fn progress_text(status: &Status, with_time: bool) -> String {
    let Some(operation) = &status.operation else { return status.state.clone() };
    let left = operation.hold_seconds_left.filter(|_| with_time);
    let left = left.map(|left| format!(", for {}", age_text(left))).unwrap_or_default();
    let name = if operation.holding { "holding" } else { operation.name.as_str() };
    format!("{name}: {} of {} children{left}", operation.replaced, operation.of)
}

#[cfg(test)]
mod tests;
