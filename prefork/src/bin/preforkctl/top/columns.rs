//! The columns of the table that a terminal has room for. None is cut: a number without its end is a wrong number.

use std::collections::BTreeMap;

use ratatui::layout::Constraint;
use ratatui::widgets;

use super::model::{BARS, Rates};
use super::view::shortened;
use crate::status::{Row, age_text, bytes_text};

/// Bars of eight heights.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Fewer show no course.
const FEWEST_BARS: usize = 5;

type ByPid = BTreeMap<u32, Rates>;

struct Column {
    name: &'static str,
    /// The column with the greatest number is left out first.
    rank: u8,
    /// At least, so that columns do not move with each value.
    width: usize,
    /// What is left of a text that can be shortened.
    shortest: Option<usize>,
    /// Whether there is something to show of this child.
    is_known: fn(&Row) -> bool,
    text: fn(&Row, Option<&Rates>) -> String,
}

const COLUMNS: [Column; 10] = [
    Column {
        name: "SLOT",
        rank: 0,
        width: 4,
        shortest: None,
        is_known: |_| true,
        text: |child, _| child.slot.to_string(),
    },
    Column {
        name: "STATE",
        rank: 2,
        width: 14,
        shortest: Some(5),
        is_known: |_| true,
        text: |child, _| child.state_text(),
    },
    Column {
        name: "GEN",
        rank: 3,
        width: 4,
        shortest: None,
        is_known: |_| true,
        text: |child, _| child.generation.to_string(),
    },
    Column {
        name: "AGE",
        rank: 4,
        width: 7,
        shortest: None,
        is_known: |child| child.age_seconds.is_some(),
        text: |child, _| child.age_seconds.map(age_text).unwrap_or_default(),
    },
    Column {
        name: "PID",
        rank: 1,
        width: 7,
        shortest: None,
        is_known: |_| true,
        text: |child, _| child.pid.map(|pid| pid.to_string()).unwrap_or_default(),
    },
    Column {
        name: "MEMORY",
        rank: 5,
        width: 6,
        shortest: None,
        is_known: |child| child.resident_bytes.is_some(),
        text: |child, _| child.resident_bytes.map(bytes_text).unwrap_or_default(),
    },
    Column {
        name: "PRIVATE",
        rank: 6,
        width: 7,
        shortest: None,
        is_known: |child| child.private_bytes.is_some(),
        text: |child, _| child.private_bytes.map(bytes_text).unwrap_or_default(),
    },
    Column {
        name: "FILES",
        rank: 8,
        width: 5,
        shortest: None,
        is_known: |child| child.open_files.is_some(),
        text: |child, _| child.open_files.map(|count| count.to_string()).unwrap_or_default(),
    },
    Column {
        name: "REQ/S",
        rank: 9,
        width: 7,
        shortest: None,
        is_known: |child| child.requests.is_some(),
        text: |_, rates| {
            let requests = rates.and_then(|rates| rates.requests);
            requests.map(|requests| format!("{requests:.0}")).unwrap_or_default()
        },
    },
    Column {
        name: "CPU",
        rank: 7,
        width: 5,
        shortest: None,
        is_known: |child| child.cpu_seconds.is_some(),
        text: |_, rates| {
            let cpu = rates.and_then(|rates| rates.cpu.back());
            cpu.map(|cpu| format!("{cpu:.0}%")).unwrap_or_default()
        },
    },
];

/// The columns that are shown, with their widths, and the room for bars after them.
pub(super) struct Columns {
    shown: Vec<(&'static Column, usize)>,
    bars: usize,
}

impl Columns {
    /// Those of the highest rank that `width` has room for, each as wide as its widest text.
    pub(super) fn fitting(rows: &[&Row], rates: &ByPid, width: usize) -> Self {
        let is_known = |column: &Column| rows.is_empty() || rows.iter().any(|child| (column.is_known)(child));
        let mut columns: Vec<(usize, &Column)> = COLUMNS.iter().enumerate().collect();
        columns.retain(|(_, column)| is_known(column));
        columns.sort_by_key(|(_, column)| column.rank);
        let (mut left, mut shown, count) = (width, Vec::new(), columns.len());
        for (place, column) in columns {
            let texts = rows.iter().map(|child| (column.text)(child, of(child, rates)).chars().count());
            let wanted = texts.chain([column.width]).max().unwrap_or_default();
            // There is a space before all but the first.
            let room = left.saturating_sub(usize::from(!shown.is_empty()));
            if room < column.shortest.unwrap_or(wanted) {
                break;
            }
            let width = wanted.min(room);
            left = room - width;
            shown.push((place, column, width));
        }
        let bars = if shown.len() == count { left.saturating_sub(1).min(BARS) } else { 0 };
        shown.sort_by_key(|(place, ..)| *place);
        let shown = shown.into_iter().map(|(_, column, width)| (column, width)).collect();
        Self { shown, bars: if bars < FEWEST_BARS { 0 } else { bars } }
    }

    pub(super) fn widths(&self) -> impl Iterator<Item = Constraint> {
        let widths = self
            .shown
            .iter()
            .map(|(_, width)| *width)
            .chain([self.bars].into_iter().filter(|bars| *bars > 0));
        widths.map(|width| Constraint::Length(u16::try_from(width).unwrap_or(u16::MAX)))
    }

    pub(super) fn names(&self) -> widgets::Row<'static> {
        widgets::Row::new(self.shown.iter().map(|(column, _)| column.name))
    }

    /// A child, or a slot that waits for one.
    pub(super) fn row(&self, child: &Row, rates: &ByPid) -> widgets::Row<'static> {
        let rates = of(child, rates);
        let texts = self.shown.iter().map(|(column, width)| shortened(&(column.text)(child, rates), *width));
        let course = rates.filter(|_| self.bars > 0).map(|rates| {
            let old = rates.cpu.len().saturating_sub(self.bars);
            bars(rates.cpu.iter().skip(old))
        });
        widgets::Row::new(texts.chain(course))
    }
}

fn of<'a>(child: &Row, rates: &'a ByPid) -> Option<&'a Rates> {
    rates.get(&child.pid?)
}

/// A bar for each number: the highest is 100, or the greatest number.
fn bars<'a>(numbers: impl Iterator<Item = &'a f64> + Clone) -> String {
    let highest = numbers.clone().copied().fold(100.0, f64::max);
    let bar = |number: &f64| {
        let steps = (number / highest * 8.0).ceil().clamp(0.0, 8.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 8")]
        let steps = steps as usize;
        steps.checked_sub(1).map_or(' ', |height| HEIGHTS[height])
    };
    numbers.map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn children(states: &[&str]) -> Vec<Row> {
        let child = |state: &&str| {
            format!(
                r#"{{"slot":0,"pid":1234567,"generation":1,"age_seconds":75.0,"cpu_seconds":1.0,
                "resident_bytes":10127147,"open_files":12,"requests":1,{state}}}"#
            )
        };
        states.iter().map(|state| serde_json::from_str(&child(state)).unwrap()).collect()
    }

    fn names(children: &[Row], width: usize) -> String {
        let rows: Vec<&Row> = children.iter().collect();
        let columns = Columns::fitting(&rows, &ByPid::new(), width);
        let names = columns.shown.iter().map(|(column, _)| column.name).collect::<Vec<_>>().join(" ");
        if columns.bars > 0 { format!("{names} and {}", columns.bars) } else { names }
    }

    #[test]
    fn column_without_room_is_left_out_whole() {
        let children = children(&[r#""state":"ready","leader":true"#]);
        let all = "SLOT STATE GEN AGE PID MEMORY FILES REQ/S CPU";
        for (width, expected) in [
            (120, format!("{all} and 30").as_str()),
            (80, &format!("{all} and 12")),
            (72, all),
            (66, "SLOT STATE GEN AGE PID MEMORY FILES CPU"),
            (58, "SLOT STATE GEN AGE PID MEMORY CPU"),
            (52, "SLOT STATE GEN AGE PID MEMORY"),
            (40, "SLOT STATE GEN AGE PID"),
            (39, "SLOT STATE GEN PID"),
            (27, "SLOT STATE PID"),
            (18, "SLOT STATE PID"),
            (17, "SLOT PID"),
            (11, "SLOT"),
            (0, ""),
        ] {
            assert_eq!(names(&children, width), expected, "{width}");
        }
    }

    #[test]
    fn column_is_as_wide_as_its_widest_text() {
        let states = [r#""state":"stopping","leader":true"#, r#""starts_in_seconds":630.0"#];
        let children = children(&states);
        let rows: Vec<&Row> = children.iter().collect();
        let columns = Columns::fitting(&rows, &ByPid::new(), 80);
        assert_eq!(columns.shown[1].1, "stopping (leader)".len());
        let narrow = Columns::fitting(&rows, &ByPid::new(), 27);
        assert_eq!((narrow.shown[1].0.name, narrow.shown[1].1), ("STATE", 14));
    }

    #[test]
    fn column_of_what_no_child_tells_is_left_out() {
        let child = r#"{"slot":0,"pid":7,"generation":1,"state":"ready"}"#;
        let child: Row = serde_json::from_str(child).unwrap();
        assert_eq!(names(&[child], 80), "SLOT STATE GEN PID and 30");
        let child =
            r#"{"slot":0,"pid":7,"generation":1,"state":"ready","resident_bytes":5,"private_bytes":4}"#;
        let child: Row = serde_json::from_str(child).unwrap();
        assert_eq!(names(&[child], 80), "SLOT STATE GEN PID MEMORY PRIVATE and 30");
        assert!(names(&[], 80).starts_with("SLOT STATE GEN AGE PID MEMORY"));
    }

    #[test]
    fn bars_have_eight_heights() {
        assert_eq!(bars([0.0, 0.1, 50.0, 100.0, 400.0].iter()), " ▁▁▂█");
    }
}
