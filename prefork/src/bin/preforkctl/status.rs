//! What the fleet is doing.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};

use crate::shown;

/// The fleet, as `/status` describes it. What another version does not tell is left out, and what is shown has no control
/// characters.
#[derive(Debug, Deserialize)]
pub(crate) struct Status {
    #[serde(deserialize_with = "shown::field")]
    pub(crate) state: String,
    pub(crate) master: u32,
    pub(crate) generation: u64,
    pub(crate) slots: u64,
    pub(crate) ready: u64,
    #[serde(default)]
    pub(crate) failures: u64,
    /// In seconds since the epoch.
    pub(crate) started_at: Option<f64>,
    pub(crate) operation: Option<Operation>,
    #[serde(default)]
    pub(crate) listeners: Vec<Listener>,
    #[serde(default)]
    pub(crate) children: Vec<Row>,
    /// Slots that wait for their next child.
    #[serde(default)]
    pub(crate) waiting: Vec<Row>,
    #[serde(default)]
    pub(crate) templates: Vec<Template>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Operation {
    #[serde(deserialize_with = "shown::field")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) replaced: u64,
    #[serde(default)]
    pub(crate) of: u64,
    #[serde(default)]
    pub(crate) holding: bool,
    pub(crate) hold_seconds_left: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Listener {
    #[serde(deserialize_with = "shown::field")]
    pub(crate) addr: String,
    pub(crate) queue: Option<u64>,
    pub(crate) limit: Option<u64>,
}

/// A process that forks children.
#[derive(Debug, Deserialize)]
pub(crate) struct Template {
    pub(crate) generation: u64,
    /// `None` while it waits for its next process.
    pub(crate) pid: Option<u32>,
    #[serde(deserialize_with = "shown::field")]
    pub(crate) state: String,
    pub(crate) age_seconds: Option<f64>,
    #[serde(default, deserialize_with = "more_than_none")]
    pub(crate) resident_bytes: Option<u64>,
    /// When the next process of one that waits is started.
    pub(crate) starts_in_seconds: Option<f64>,
}

/// A child, or a slot that waits for its next one: a row of the table.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) slot: u64,
    /// `None` for a slot that waits.
    pub(crate) pid: Option<u32>,
    pub(crate) generation: u64,
    #[serde(default = "waiting", deserialize_with = "shown::field")]
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) leader: bool,
    pub(crate) age_seconds: Option<f64>,
    pub(crate) cpu_seconds: Option<f64>,
    #[serde(default, deserialize_with = "more_than_none")]
    pub(crate) resident_bytes: Option<u64>,
    /// What of it no other process has; told of children that a template has forked.
    #[serde(default, deserialize_with = "more_than_none")]
    pub(crate) private_bytes: Option<u64>,
    #[serde(default, deserialize_with = "more_than_none")]
    pub(crate) open_files: Option<u64>,
    pub(crate) requests: Option<u64>,
    /// When the next child of a slot that waits is started.
    pub(crate) starts_in_seconds: Option<f64>,
}

/// The state of a slot that waits, which the fleet does not name.
fn waiting() -> String {
    "waiting".to_owned()
}

/// A process that has ended has no memory and no files until its parent has waited for it.
fn more_than_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Option::<u64>::deserialize(deserializer).map(|number| number.filter(|number| *number > 0))
}

impl Status {
    /// The text for a person.
    pub(crate) fn text(&self, now: SystemTime) -> String {
        self.summary(now) + &self.table()
    }

    /// What there is to say of the fleet as a whole, in a few lines.
    pub(crate) fn summary(&self, now: SystemTime) -> String {
        let Self { state, master, generation, slots, ready, failures, .. } = self;
        let mut text = format!("{state}: {ready} of {slots} ready, generation {generation}, master {master}");
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if let Some(age) = self.started_at.map(|started| now.as_secs_f64() - started) {
            text += &format!(", up {}", age_text(age));
        }
        if *failures > 0 {
            text += &format!(", {failures} recent failure{}", if *failures == 1 { "" } else { "s" });
        }
        text.push('\n');
        self.operation.iter().for_each(|operation| text += &operation.text());
        self.templates.iter().for_each(|template| text += &template.text());
        for Listener { addr, queue, limit } in &self.listeners {
            if let (Some(queue), Some(limit)) = (queue, limit) {
                text += &format!("{addr}: {queue} of {limit} connections queued\n");
            }
        }
        text
    }

    /// The children and the slots that wait for one, by slot.
    pub(crate) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.children.iter().chain(&self.waiting).collect();
        rows.sort_by_key(|row| (row.slot, row.generation, row.pid));
        rows
    }

    /// A table of the children. Columns that have nothing are left out.
    fn table(&self) -> String {
        let rows = self.rows();
        let number = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
        type Cell = Box<dyn Fn(&Row) -> String>;
        let columns: [(&str, Cell); 10] = [
            ("SLOT", Box::new(|row| row.slot.to_string())),
            ("STATE", Box::new(Row::state_text)),
            ("GEN", Box::new(|row| row.generation.to_string())),
            ("PID", Box::new(move |row| number(row.pid.map(u64::from)))),
            ("AGE", Box::new(|row| row.age_seconds.map_or_else(String::new, age_text))),
            ("CPU", Box::new(|row| row.cpu_seconds.map_or_else(String::new, |cpu| format!("{cpu:.1}s")))),
            ("MEMORY", Box::new(|row| row.resident_bytes.map_or_else(String::new, bytes_text))),
            ("PRIVATE", Box::new(|row| row.private_bytes.map_or_else(String::new, bytes_text))),
            ("FILES", Box::new(move |row| number(row.open_files))),
            ("REQUESTS", Box::new(move |row| number(row.requests))),
        ];
        let cells = columns.map(|(name, cell)| {
            let values: Vec<String> = rows.iter().map(|row| cell(row)).collect();
            (name, values)
        });
        let shown: Vec<_> =
            cells.into_iter().filter(|(_, values)| values.iter().any(|value| !value.is_empty())).collect();
        side_by_side(&shown)
    }
}

impl Row {
    pub(crate) fn state_text(&self) -> String {
        let Self { state, leader, starts_in_seconds, .. } = self;
        match starts_in_seconds {
            Some(left) => format!("{state} {}", age_text(*left)),
            None => state.clone() + if *leader { " (leader)" } else { "" },
        }
    }
}

/// The columns side by side, each as wide as its widest value.
fn side_by_side(columns: &[(&str, Vec<String>)]) -> String {
    let height = columns.first().map_or(0, |(_, values)| values.len());
    let mut text = String::new();
    for row in 0..=height {
        let mut line = String::new();
        for (name, values) in columns {
            let width = values.iter().map(String::len).chain([name.len()]).max().unwrap_or(0);
            let value = row.checked_sub(1).map_or(*name, |row| values[row].as_str());
            // `write!` to a String cannot fail.
            let _ = write!(line, "{value:<width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    if height == 0 { String::new() } else { text }
}

impl Template {
    fn text(&self) -> String {
        let Self { generation, pid, state, age_seconds, resident_bytes, starts_in_seconds } = self;
        let parts = [
            starts_in_seconds.map(|left| format!(" {}", age_text(left))),
            pid.map(|pid| format!(", pid {pid}")),
            age_seconds.map(|age| format!(", up {}", age_text(age))),
            resident_bytes.map(|bytes| format!(", {} of memory", bytes_text(bytes))),
        ];
        let parts: String = parts.into_iter().flatten().collect();
        format!("template of generation {generation}: {state}{parts}\n")
    }
}

impl Operation {
    fn text(&self) -> String {
        let Self { name, replaced, of, holding, hold_seconds_left } = self;
        let hold = match (holding, hold_seconds_left) {
            (false, _) => String::new(),
            (true, None) => ", holding until promote or rollback".to_owned(),
            (true, Some(left)) => format!(", holding for {}", age_text(*left)),
        };
        let done = match name.as_str() {
            "stop" => "ended",
            "workers" => "added or ended",
            _ => "replaced",
        };
        format!("{name}: {replaced} of {of} children {done}{hold}\n")
    }
}

/// The two greatest units of a time: `3d 4h`.
pub(crate) fn age_text(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    let units =
        [("d", seconds / 86_400), ("h", seconds / 3600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = units.iter().position(|(_, count)| *count > 0).unwrap_or(units.len() - 1);
    let shown = units[first..].iter().take(2).filter(|(unit, count)| *count > 0 || *unit == "s");
    let texts: Vec<String> = shown.map(|(unit, count)| format!("{count}{unit}")).collect();
    texts.join(" ")
}

/// Three digits: `9.16M`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    if bytes < 1000 {
        return format!("{bytes}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut left = bytes as f64;
    for unit in ["K", "M", "G", "T", "P", "E"] {
        left /= 1024.0;
        // What is shown is rounded.
        match left {
            ..9.995 => return format!("{left:.2}{unit}"),
            ..99.95 => return format!("{left:.1}{unit}"),
            ..999.5 => return format!("{left:.0}{unit}"),
            _ => {}
        }
    }
    format!("{left:.0}E")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &str) -> String {
        let status: Status = serde_json::from_str(status).unwrap();
        status.text(SystemTime::UNIX_EPOCH + Duration::from_secs(100_000))
    }

    #[test]
    fn table_has_the_columns_that_are_known() {
        let status = r#"{"state":"serving","master":1,"generation":2,"slots":2,"ready":2,"failures":0,"children":[
            {"slot":1,"pid":12,"generation":2,"state":"ready"},{"slot":0,"pid":7,"generation":2,"state":"starting"}]}"#;
        let expected = "serving: 2 of 2 ready, generation 2, master 1\n\
            SLOT  STATE     GEN  PID\n0     starting  2    7\n1     ready     2    12\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn whole_status_is_shown() {
        let status = r#"{"state":"reloading","master":1,"generation":3,"slots":1,"ready":1,"failures":2,
            "started_at":3600.5,"more":true,
            "operation":{"name":"reload","replaced":1,"of":4,"holding":true,"hold_seconds_left":61.5},
            "listeners":[{"addr":"127.0.0.1:80","queue":3,"limit":128},{"addr":"unix:/a","queue":null,"limit":null}],
            "children":[{"slot":0,"pid":7,"generation":3,"state":"ready","leader":true,"age_seconds":75.2,
            "cpu_seconds":0.25,"resident_bytes":20971520,"open_files":12,"requests":99}]}"#;
        assert!(text(&status.replace("reload\"", "stop\"")).contains("stop: 1 of 4 children ended"));
        let expected = "reloading: 1 of 1 ready, generation 3, master 1, up 1d 2h, 2 recent failures\n\
            reload: 1 of 4 children replaced, holding for 1m 1s\n\
            127.0.0.1:80: 3 of 128 connections queued\n\
            SLOT  STATE           GEN  PID  AGE     CPU   MEMORY  FILES  REQUESTS\n\
            0     ready (leader)  3    7    1m 15s  0.2s  20.0M   12     99\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn text_of_the_fleet_is_shown_without_control_characters() {
        let status = r#"{"state":"a\u001b[2J","master":1,"generation":2,"slots":1,"ready":1,
            "operation":{"name":"b\r"},"listeners":[{"addr":"c\u009b","queue":3,"limit":128}],
            "children":[{"slot":0,"pid":7,"generation":3,"state":"d\n"}],
            "templates":[{"generation":3,"pid":6,"state":"e\u001b\n"}]}"#;
        let text = text(status);
        assert!(!text.replace('\n', "").contains(char::is_control), "{text:?}");
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn slot_that_waits_for_its_child_has_a_row() {
        let status = r#"{"state":"serving","master":1,"generation":2,"slots":3,"ready":1,"failures":1,
            "children":[{"slot":1,"pid":12,"generation":2,"state":"ready"}],"waiting":[
            {"slot":0,"generation":2,"starts_in_seconds":4.2},{"slot":2,"generation":1,"starts_in_seconds":null}]}"#;
        let expected = "serving: 1 of 3 ready, generation 2, master 1, 1 recent failure\n\
            SLOT  STATE       GEN  PID\n0     waiting 4s  2\n1     ready       2    12\n2     waiting     1\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn template_is_a_line() {
        let status = r#"{"state":"reloading","master":1,"generation":2,"slots":2,"ready":2,"templates":[
            {"generation":1,"pid":7,"state":"ready","age_seconds":75.2,"resident_bytes":20971520},
            {"generation":2,"pid":null,"state":"waiting","age_seconds":null,"resident_bytes":null,"starts_in_seconds":4.2},
            {"generation":3,"pid":9,"state":"loading","more":1}]}"#;
        let expected = "reloading: 2 of 2 ready, generation 2, master 1\n\
            template of generation 1: ready, pid 7, up 1m 15s, 20.0M of memory\n\
            template of generation 2: waiting 4s\n\
            template of generation 3: loading, pid 9\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn child_that_shares_memory_has_what_is_its_own_beside_all() {
        let status = r#"{"state":"serving","master":1,"generation":2,"slots":1,"ready":1,
            "children":[{"slot":0,"pid":7,"generation":2,"state":"ready","resident_bytes":20971520,
            "private_bytes":1048576,"open_files":3}]}"#;
        let expected = "serving: 1 of 1 ready, generation 2, master 1\n\
            SLOT  STATE  GEN  PID  MEMORY  PRIVATE  FILES\n0     ready  2    7    20.0M   1.00M    3\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn child_that_has_just_ended_has_neither_memory_nor_files() {
        let status = r#"{"state":"serving","master":1,"generation":2,"slots":1,"ready":0,
            "children":[{"slot":0,"pid":7,"generation":2,"state":"stopping","resident_bytes":0,"open_files":0}]}"#;
        let expected = "serving: 0 of 1 ready, generation 2, master 1\n\
            SLOT  STATE     GEN  PID\n0     stopping  2    7\n";
        assert_eq!(text(status), expected);
    }

    #[test]
    fn ages_and_sizes_are_short() {
        let ages: Vec<String> = [0.0, 59.9, 60.0, 3605.0, 90_000.0, -1.0, f64::NAN].map(age_text).into();
        assert_eq!(ages, ["0s", "59s", "1m 0s", "1h", "1d 1h", "0s", "0s"]);
        let sizes = [0, 999, 1000, 2 << 10, 10_234, 10_235, 102_348, 1_023_487, 1_023_488, 9876 << 10];
        let texts: Vec<String> = sizes.map(bytes_text).into();
        let expected = ["0B", "999B", "0.98K", "2.00K", "9.99K", "10.0K", "99.9K", "999K", "0.98M", "9.64M"];
        assert_eq!(texts, expected);
        let texts: Vec<String> = [20 << 20, 999 << 30, 5 << 40, u64::MAX].map(bytes_text).into();
        assert_eq!(texts, ["20.0M", "999G", "5.00T", "16.0E"]);
    }
}
