//! Who follows the log beside the logger: clients of the control socket, and the record of an operation.
//!
//! While there is no follower, a message costs one load more. A follower has a bounded buffer, and nothing waits for
//! it. The followers are in the master, and are told of the messages of children and templates too, which a relay in each
//! of them passes on.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use log::Level;

use super::{Message, Subject, one_line};
use crate::json;

/// The most messages that wait for a client, and their bytes.
const WAITING_MAX: usize = 1024;
const WAITING_BYTES: usize = 256 * 1024;
/// The messages that the record of an operation keeps: of the master, of its children and templates, and of one of them.
const OF_MASTER_MAX: usize = 64;
const OF_CHILDREN_MAX: usize = 64;
const OF_CHILD_MAX: usize = 8;

/// Whether there is a follower.
static FOLLOWED: AtomicBool = AtomicBool::new(false);
static FOLLOWERS: Mutex<Vec<Weak<Follower>>> = Mutex::new(Vec::new());
/// In a child or a template, passes on what is logged. It logs nothing itself.
static RELAY: RwLock<Option<Box<Relay>>> = RwLock::new(None);

type Relay = dyn Fn(&LoggedEvent) + Send + Sync;

/// A message with the time of its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LoggedEvent {
    pub(crate) at: SystemTime,
    pub(crate) level: Level,
    pub(crate) name: Cow<'static, str>,
    pub(crate) slot: Option<usize>,
    pub(crate) pid: Option<u32>,
    pub(crate) generation: Option<u32>,
    pub(crate) text: String,
    pub(crate) origin: Origin,
}

/// Which process has logged an event. The master does not trust the text of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Master,
    Child,
    Template,
}

impl LoggedEvent {
    fn new(at: SystemTime, message: &Message) -> Self {
        let Message { subject: Subject { name, slot, pid, generation }, level, ref text, .. } = *message;
        let name = Cow::Borrowed(name);
        Self { at, level, name, slot, pid, generation, text: text.clone(), origin: Origin::Master }
    }

    /// What the child in this slot, or without a slot a template, says that it has logged.
    pub(crate) fn of_process(
        (slot, pid, generation): (Option<usize>, u32, u32),
        level: Level,
        name: String,
        text: String,
    ) -> Self {
        Self {
            at: SystemTime::now(),
            level,
            name: Cow::Owned(name),
            slot,
            pid: Some(pid),
            generation: Some(generation),
            text: one_line(text),
            origin: if slot.is_some() { Origin::Child } else { Origin::Template },
        }
    }

    pub(crate) fn is_of_child(&self) -> bool {
        self.origin == Origin::Child
    }

    /// One line, with the names of the fields that a logger sees.
    pub(crate) fn to_json(&self) -> String {
        let Self { at, level, name, slot, pid, generation, text, origin } = self;
        let time = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let level = level.as_str().to_ascii_lowercase();
        let mut line =
            format!("{{\"time\":{},\"level\":\"{level}\",\"event\":\"{name}\"", json::seconds(time));
        for (field, value) in [
            ("slot", slot.map(|slot| slot.to_string())),
            ("pid", pid.map(|pid| pid.to_string())),
            ("generation", generation.map(|generation| generation.to_string())),
        ] {
            if let Some(value) = value {
                line += &format!(",\"{field}\":{value}");
            }
        }
        line += match origin {
            Origin::Master => "",
            Origin::Child => ",\"from\":\"child\"",
            Origin::Template => ",\"from\":\"template\"",
        };
        line + &format!(",\"message\":{}}}\n", json::text(text))
    }
}

/// Who is told of each message from now on, until it is dropped.
pub(crate) struct Follower {
    state: Mutex<FollowerState>,
    /// Called when there is a message; `None` for a record, which keeps the last messages.
    notify: Option<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct FollowerState {
    events: VecDeque<Arc<LoggedEvent>>,
    bytes: usize,
    /// Whether it was too slow.
    lost: bool,
}

impl FollowerState {
    /// Drops the oldest of these messages if there are more than `limit`.
    fn keep_last(&mut self, limit: usize, is_one: impl Fn(&LoggedEvent) -> bool) {
        if self.events.iter().filter(|event| is_one(event)).count() > limit {
            let oldest = self.events.iter().position(|event| is_one(event));
            oldest.and_then(|oldest| self.events.remove(oldest));
        }
    }
}

impl Follower {
    /// A reader, which is notified. One that has too much to read is lost.
    pub(crate) fn reader(notify: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Self::begin(Some(Box::new(notify)))
    }

    /// A record of the last messages. Those of a child displace first its own, then those of other children, and never
    /// those of the master.
    pub(crate) fn record() -> Arc<Self> {
        Self::begin(None)
    }

    fn begin(notify: Option<Box<dyn Fn() + Send + Sync>>) -> Arc<Self> {
        let follower = Arc::new(Self { state: Mutex::default(), notify });
        let mut followers = followers();
        followers.push(Arc::downgrade(&follower));
        FOLLOWED.store(true, Ordering::SeqCst);
        follower
    }

    /// The oldest messages, of about `limit` bytes, which are not returned again; `None` if some are missing.
    pub(crate) fn take(&self, limit: usize) -> Option<Vec<Arc<LoggedEvent>>> {
        let mut state = self.state();
        let (mut taken, mut length) = (Vec::new(), 0);
        while length < limit {
            let Some(event) = state.events.pop_front() else { break };
            length += event.text.len();
            taken.push(event);
        }
        state.bytes = state.bytes.saturating_sub(length);
        (!state.lost).then_some(taken)
    }

    fn note(&self, event: &Arc<LoggedEvent>) {
        let mut state = self.state();
        if state.lost {
            return;
        }
        state.events.push_back(Arc::clone(event));
        state.bytes += event.text.len();
        match &self.notify {
            Some(notify) => {
                if state.events.len() > WAITING_MAX || state.bytes > WAITING_BYTES {
                    *state = FollowerState { lost: true, ..FollowerState::default() };
                }
                drop(state);
                notify();
            }
            None if event.origin == Origin::Master => {
                state.keep_last(OF_MASTER_MAX, |other| other.origin == Origin::Master);
            }
            None => {
                let is_told = |other: &LoggedEvent| other.origin != Origin::Master;
                state.keep_last(OF_CHILD_MAX, |other| is_told(other) && other.pid == event.pid);
                state.keep_last(OF_CHILDREN_MAX, is_told);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, FollowerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

/// Lets `relay` pass on what this process logs from now on: it is a child or a template. The first relay counts.
pub(crate) fn relay(relay: impl Fn(&LoggedEvent) + Send + Sync + 'static) {
    RELAY.write().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| Box::new(relay));
}

/// Forgets the relay of the template that this process was forked by. The next one counts.
pub(super) fn forget_relay() {
    *RELAY.write().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Tells the relay and the followers of a message.
pub(super) fn note(message: &Message) {
    if let Some(relay) = &*RELAY.read().unwrap_or_else(PoisonError::into_inner) {
        relay(&LoggedEvent::new(SystemTime::now(), message));
    }
    tell_followers(|| LoggedEvent::new(SystemTime::now(), message));
}

/// Tells the followers of an event, which is made if there are any.
pub(crate) fn tell_followers(event: impl FnOnce() -> LoggedEvent) {
    if !FOLLOWED.load(Ordering::Relaxed) {
        return;
    }
    let mut followers = followers();
    followers.retain(|follower| follower.strong_count() > 0);
    FOLLOWED.store(!followers.is_empty(), Ordering::SeqCst);
    if followers.is_empty() {
        return;
    }
    let event = Arc::new(event());
    followers.iter().filter_map(Weak::upgrade).for_each(|follower| follower.note(&event));
}

fn followers() -> MutexGuard<'static, Vec<Weak<Follower>>> {
    FOLLOWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::Logger;

    fn event(text: &str) -> Arc<LoggedEvent> {
        let logger = Logger::default();
        let message = logger.event("…").child(3, 4711).message(Level::Warn, &text);
        Arc::new(LoggedEvent::new(SystemTime::UNIX_EPOCH + Duration::from_millis(1500), &message))
    }

    fn alone(notify: Option<Box<dyn Fn() + Send + Sync>>) -> Follower {
        Follower { state: Mutex::default(), notify }
    }

    #[test]
    fn event_is_one_line_of_json_without_the_fields_that_it_lacks() {
        assert_eq!(
            event("a \"b\"").to_json(),
            "{\"time\":1.500,\"level\":\"warn\",\"event\":\"…\",\"slot\":3,\"pid\":4711,\
             \"message\":\"a \\\"b\\\"\"}\n"
        );
    }

    #[test]
    fn event_that_another_process_tells_is_marked() {
        let (name, text) = ("reloaded".to_owned(), "done".to_owned());
        for (slot, end) in [
            (Some(3), ",\"generation\":2,\"from\":\"child\",\"message\":\"done\"}\n"),
            (
                None,
                "\"info\",\"event\":\"reloaded\",\"pid\":4711,\"generation\":2,\"from\":\"template\",\"message\":\"done\"}\n",
            ),
        ] {
            let (name, text) = (name.clone(), text.clone());
            let told = LoggedEvent::of_process((slot, 4711, 2), Level::Info, name, text).to_json();
            assert!(told.ends_with(end), "{told}");
        }
    }

    #[test]
    fn reader_that_is_too_slow_is_lost_and_keeps_nothing() {
        let reader = alone(Some(Box::new(|| {})));
        (0..WAITING_MAX).for_each(|_| reader.note(&event("text")));
        assert_eq!(reader.take(usize::MAX).unwrap().len(), WAITING_MAX);
        (0..=WAITING_MAX).for_each(|_| reader.note(&event("text")));
        assert!(reader.take(usize::MAX).is_none() && reader.state().events.is_empty());
        let reader = alone(Some(Box::new(|| {})));
        (0..3).for_each(|_| reader.note(&event(&"x".repeat(WAITING_BYTES / 2))));
        assert!(reader.take(usize::MAX).is_none());
    }

    #[test]
    fn record_keeps_the_last_messages() {
        let record = alone(None);
        (0..100).for_each(|number| record.note(&event(&number.to_string())));
        let kept = record.take(usize::MAX).unwrap();
        assert_eq!((kept.len(), kept[0].text.as_str()), (OF_MASTER_MAX, "36"));
    }

    #[test]
    fn child_that_logs_much_displaces_its_own_messages_in_a_record() {
        let record = alone(None);
        let of_child = |pid: u32, text: String| {
            let name = "serve_failed".to_owned();
            record.note(&Arc::new(LoggedEvent::of_process((Some(3), pid, 0), Level::Warn, name, text)));
        };
        of_child(1, "reason".to_owned());
        record.note(&event("master"));
        (0..1000).for_each(|number| of_child(2, number.to_string()));
        record.note(&event("end"));
        let kept = record.take(usize::MAX).unwrap();
        let kept: Vec<&str> = kept.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(kept, ["reason", "master", "992", "993", "994", "995", "996", "997", "998", "999", "end"]);
        record.note(&event("master"));
        (0..1000).for_each(|pid| of_child(pid, pid.to_string()));
        let kept = record.take(usize::MAX).unwrap();
        assert_eq!((kept.len(), kept[0].text.as_str()), (1 + OF_CHILDREN_MAX, "master"));
    }

    #[test]
    fn followers_are_told_of_every_message_until_they_are_dropped() {
        let follower = Follower::record();
        super::super::queue::push(Logger::default().event("…").message(Level::Debug, &"tapped"));
        let events = follower.take(usize::MAX).unwrap();
        assert!(events.iter().any(|event| event.text == "tapped"), "{events:?}");
    }
}
