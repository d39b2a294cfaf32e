//! The form of a state: what is left of it without what no decision depends on.
//!
//! It is made from what `Debug` writes, so that no field of a state is forgotten, not even one that is added later. A
//! model names the fields that it leaves out, or in which only a part counts, and says why.
//!
//! - A time becomes its distance from now: machines that get the time as an argument compare and add times only.
//! - Numbers of a class, such as ids, become their places in the order of all that occur: they are compared and nothing
//!   else, and the next one is greater than all others.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// What counts in a field, or in a value of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    All,
    /// Nothing, whatever it contains.
    Nothing,
    /// The place among the numbers of this class.
    Place(u8),
    /// A time in the past: its age, as long as it is less than this.
    Age(Duration),
}

/// The form of `value` at the time `now`. `part_of` is asked for each name of a field, and of a type.
pub(crate) fn form_of(now: Instant, value: &dyn Debug, part_of: fn(&str) -> Part) -> u64 {
    let mut form = Form { part_of, ..Form::default() };
    write!(form, "{now:?}{value:?}").expect("a form takes everything");
    form.hash()
}

/// What `Debug` has written so far: the text, in which the [`values`](Self::values) are replaced by [`MARK`].
struct Form {
    part_of: fn(&str) -> Part,
    text: String,
    values: Vec<Value>,
    part: Part,
    /// What counts in the brackets of a type whose name was read, until they open.
    part_of_type: Option<Part>,
    /// What counts after each bracket that is open.
    outer_parts: Vec<Part>,
    /// How many brackets are open where something that is left out ends.
    left_out: Option<usize>,
    /// The seconds of a time whose nanoseconds follow.
    time: Option<i128>,
    expects: Expects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    Value,
    Seconds,
    Nanos,
}

#[derive(Debug, Clone, Copy)]
enum Value {
    /// In nanoseconds, and the greatest age that counts.
    Time(i128, Option<Duration>),
    Place(u8, u64),
}

const MARK: char = '#';

impl Default for Form {
    fn default() -> Self {
        Self {
            part_of: |_| Part::All,
            text: String::new(),
            values: Vec::new(),
            part: Part::All,
            part_of_type: None,
            outer_parts: Vec::new(),
            left_out: None,
            time: None,
            expects: Expects::Value,
        }
    }
}

impl Form {
    /// How many brackets are open.
    fn depth(&self) -> usize {
        self.outer_parts.len()
    }

    fn open(&mut self) {
        self.outer_parts.push(self.part);
        self.part = self.part_of_type.take().unwrap_or(self.part);
    }

    fn close(&mut self) {
        self.part = self.outer_parts.pop().expect("a bracket is open");
        self.part_of_type = None;
    }

    fn name(&mut self, piece: &str) {
        match piece.as_bytes() {
            b"tv_sec" => self.expects = Expects::Seconds,
            b"tv_nsec" => self.expects = Expects::Nanos,
            _ => {
                let part = (self.part_of)(piece);
                if part == Part::Nothing {
                    self.left_out = Some(self.depth());
                }
                if matches!(piece.as_bytes(), [b'a'..=b'z', ..]) {
                    self.part = part;
                } else if part != Part::All {
                    // The name of most types says nothing of what is in them.
                    self.part_of_type = Some(part);
                }
            }
        }
        self.text.push_str(piece);
    }

    fn number(&mut self, piece: &str) {
        match (self.expects, self.part) {
            (Expects::Seconds, _) => self.time = piece.parse().ok(),
            (Expects::Nanos, part) => {
                let (seconds, nanos) = (self.time.take(), piece.parse::<i128>());
                let time = seconds.expect("seconds come first") * 1_000_000_000 + nanos.expect("a number");
                let limit = if let Part::Age(limit) = part { Some(limit) } else { None };
                self.values.push(Value::Time(time, limit));
                self.text.push(MARK);
            }
            (Expects::Value, Part::Place(class)) => {
                self.values.push(Value::Place(class, piece.parse().expect("a number")));
                self.text.push(MARK);
            }
            (Expects::Value, _) => self.text.push_str(piece),
        }
        self.expects = Expects::Value;
    }

    fn hash(self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        let mut places: Vec<(u8, u64)> = self.values.iter().filter_map(Value::place).collect();
        places.sort_unstable();
        places.dedup();
        let mut now = None;
        for value in self.values {
            match value {
                Value::Time(time, limit) => {
                    let since = time - *now.get_or_insert(time);
                    let oldest = limit.map(|limit| -i128::try_from(limit.as_nanos()).expect("a short time"));
                    oldest.map_or(since, |oldest| since.max(oldest)).hash(&mut hasher);
                }
                Value::Place(class, number) => {
                    let first = places.partition_point(|(of, _)| *of < class);
                    let place = places.partition_point(|one| *one < (class, number)) - first;
                    place.hash(&mut hasher);
                }
            }
        }
        hasher.finish()
    }
}

impl Value {
    fn place(&self) -> Option<(u8, u64)> {
        match self {
            Self::Place(class, number) => Some((*class, *number)),
            Self::Time(..) => None,
        }
    }
}

impl Write for Form {
    /// `Debug` writes each name, number and bracket by itself.
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        // Bytes are compared faster than text in a test that is not optimised.
        match piece.as_bytes() {
            b" { " | b"{" | b"(" | b"[" => self.open(),
            b" }" | b"}" | b")" | b"]" => self.close(),
            // It was a value without brackets.
            b", " => self.part_of_type = None,
            _ => {}
        }
        if let Some(depth) = self.left_out {
            let is_over = self.depth() < depth || (self.depth() == depth && piece == ", ");
            if !is_over {
                return Ok(());
            }
            self.left_out = None;
        }
        match piece.as_bytes() {
            [b'0'..=b'9', ..] => self.number(piece),
            [b'a'..=b'z' | b'A'..=b'Z', ..] => self.name(piece),
            _ => self.text.push_str(piece),
        }
        Ok(())
    }
}

/// A hasher of what is a hash already.
#[derive(Default)]
pub(crate) struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a form is a number")
    }

    fn write_u64(&mut self, form: u64) {
        self.0 = form;
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Clone)]
    #[expect(dead_code, reason = "for `Debug`")]
    struct State {
        at: Instant,
        since: Option<Instant>,
        ids: Vec<Id>,
        slots: BTreeMap<Id, u32>,
        counts: [u32; 2],
        delay: Duration,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    struct Id(u64);

    fn part_of(name: &str) -> Part {
        match name {
            "since" => Part::Age(Duration::from_secs(1)),
            "Id" => Part::Place(0),
            "counts" => Part::Nothing,
            _ => Part::All,
        }
    }

    fn state(now: Instant) -> State {
        let second = Duration::from_secs(1);
        State {
            at: now + second,
            since: Some(now - second * 2),
            ids: vec![Id(7), Id(3)],
            slots: BTreeMap::from([(Id(3), 0), (Id(7), 1)]),
            counts: [0, 0],
            delay: second,
        }
    }

    #[test]
    fn states_that_differ_in_what_does_not_count_have_one_form() {
        let now = Instant::now() + Duration::from_secs(10);
        let form = form_of(now, &state(now), part_of);
        let later = now + Duration::from_millis(2500);
        let others = [
            (later, state(later)),
            (now, State { since: Some(now - Duration::from_secs(1)), ..state(now) }),
            (
                now,
                State {
                    ids: vec![Id(11), Id(10)],
                    slots: BTreeMap::from([(Id(10), 0), (Id(11), 1)]),
                    ..state(now)
                },
            ),
            (now, State { counts: [3, 4], ..state(now) }),
        ];
        for (now, other) in others {
            assert_eq!(form_of(now, &other, part_of), form, "{other:?}");
        }
    }

    #[test]
    fn states_that_differ_in_anything_else_have_different_forms() {
        let now = Instant::now() + Duration::from_secs(10);
        let form = form_of(now, &state(now), part_of);
        let moment = Duration::from_nanos(1);
        let others = [
            State { at: now, ..state(now) },
            State { at: now + Duration::from_secs(1) + moment, ..state(now) },
            State { since: None, ..state(now) },
            State { since: Some(now - Duration::from_secs(1) + moment), ..state(now) },
            State { ids: vec![Id(3), Id(7)], ..state(now) },
            State { ids: vec![Id(7), Id(7)], ..state(now) },
            State { ids: vec![Id(7)], ..state(now) },
            State { slots: BTreeMap::from([(Id(3), 0), (Id(7), 2)]), ..state(now) },
            State { delay: moment, ..state(now) },
        ];
        for other in others {
            assert_ne!(form_of(now, &other, part_of), form, "{other:?}");
        }
    }
}
