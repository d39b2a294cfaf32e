//! How it looks.

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table, TableState};

use super::model::{BARS, Model};
use crate::status::{self, Status, age_text, bytes_text};

/// Of the columns before the bars.
const WIDTHS: [u16; 9] = [4, 14, 4, 7, 7, 6, 5, 7, 5];
const KEYS: &str = "up/down: choose   r: recycle   +/-: scale   q: quit";
/// While a reload holds.
const KEYS_OF_CANARY: &str = "P: promote   R: roll back   ";
/// Bars of eight heights.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &Model, now: SystemTime) {
    let head = head(model, now);
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let parts = [Constraint::Length(height), Constraint::Min(1), Constraint::Length(1)];
    let [top, middle, bottom] = Layout::vertical(parts).areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    if let Some(status) = &model.status {
        let mut state = TableState::default().with_selected(model.selected);
        frame.render_stateful_widget(table(model, status, middle.width), middle, &mut state);
    }
    let reversed = Style::default().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(foot(model)).style(reversed), bottom);
}

fn head(model: &Model, now: SystemTime) -> Vec<Line<'static>> {
    let Some(status) = &model.status else { return vec![Line::from("waiting for the fleet")] };
    let summary = status.summary(now);
    let mut lines: Vec<Line<'_>> = summary.lines().map(|line| Line::from(line.to_owned())).collect();
    if let Some(requests) = model.requests() {
        lines.push(Line::from(format!("{requests:.0} requests a second")));
    }
    lines
}

fn foot(model: &Model) -> String {
    let of_canary = model.held().map(|_| KEYS_OF_CANARY).unwrap_or_default();
    match (&model.question, &model.lost, &model.message) {
        (Some(question), ..) => format!("{}? y: yes, any other key: no", question.text),
        (None, Some(lost), _) => lost.clone(),
        (None, None, Some(message)) => format!("{}   {of_canary}{KEYS}", message.text),
        (None, None, None) => format!("{of_canary}{KEYS}"),
    }
}

fn table(model: &Model, status: &Status, width: u16) -> Table<'static> {
    // A column, and the space before the next one.
    let taken: u16 = WIDTHS.iter().map(|width| width + 1).sum();
    let room = usize::from(width.saturating_sub(taken)).min(BARS);
    let widths = WIDTHS.map(Constraint::Length).into_iter().chain([Constraint::Fill(1)]);
    let names = ["SLOT", "STATE", "GEN", "AGE", "PID", "MEMORY", "FILES", "REQ/S", "CPU", ""];
    let rows = status.rows().into_iter().map(|child| row(model, child, room));
    Table::new(rows, widths)
        .header(Row::new(names).style(Style::default().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED))
}

/// A child, or a slot that waits for one, with the newest bars that there is `room` for.
fn row(model: &Model, child: &status::Row, room: usize) -> Row<'static> {
    let rates = child.pid.and_then(|pid| model.rates.get(&pid));
    let cpu = rates.and_then(|rates| rates.cpu.back());
    let requests = rates.and_then(|rates| rates.requests);
    Row::new([
        child.slot.to_string(),
        child.state_text(),
        child.generation.to_string(),
        child.age_seconds.map(age_text).unwrap_or_default(),
        child.pid.map(|pid| pid.to_string()).unwrap_or_default(),
        child.resident_bytes.map(bytes_text).unwrap_or_default(),
        child.open_files.map(|count| count.to_string()).unwrap_or_default(),
        requests.map(|requests| format!("{requests:.0}")).unwrap_or_default(),
        cpu.map(|cpu| format!("{cpu:.0}%")).unwrap_or_default(),
        rates
            .map(|rates| bars(rates.cpu.iter().skip(rates.cpu.len().saturating_sub(room))))
            .unwrap_or_default(),
    ])
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
    use std::time::Instant;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::{holding, model};
    use super::*;

    fn screen(model: &Model) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(100, 8)).unwrap();
        terminal.draw(|frame| draw(frame, model, SystemTime::UNIX_EPOCH)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let lines =
            buffer.content().chunks(100).map(|cells| cells.iter().map(|cell| cell.symbol()).collect());
        lines.map(|line: String| line.trim_end().to_owned()).collect()
    }

    #[test]
    fn screen_has_the_fleet_and_its_children() {
        let lines = screen(&model());
        assert_eq!(lines[0], "serving: 2 of 2 ready, generation 2, master 1");
        assert_eq!(lines[1], "25 requests a second");
        assert!(lines[2].starts_with("SLOT STATE"), "{lines:?}");
        assert!(
            lines[3].starts_with("0    ready (leader) 2            7                    25      50%   ▄"),
            "{lines:?}"
        );
        assert!(lines[4].starts_with("1    ready          2    1m 15s  12      2.00M"), "{lines:?}");
        assert_eq!(lines[7], KEYS);
    }

    #[test]
    fn slot_that_waits_is_a_row_that_can_be_chosen() {
        let (mut model, now) = (model(), Instant::now());
        let mut status = model.status.take().unwrap();
        // The child of slot 1 has failed.
        status.children.remove(0);
        let waiting = r#"[{"slot":1,"generation":2,"starts_in_seconds":9.7}]"#;
        status.waiting = serde_json::from_str(waiting).unwrap();
        model.update(status, now);
        let lines = screen(&model);
        let row = lines.iter().position(|line| line.starts_with("1    waiting 9s     2")).unwrap();
        assert!(lines[row - 1].starts_with("0    ready (leader) 2"), "{lines:?}");
        assert!(['j', 'r'].into_iter().all(|key| model.press(key, now).is_none()));
        assert!(screen(&model)[7].starts_with("recycle slot 1?"), "{lines:?}");
    }

    #[test]
    fn last_line_asks_and_answers() {
        let (mut model, now) = (model(), Instant::now());
        model.press('+', now);
        assert!(screen(&model)[7].starts_with("change the number of children to 3? y"));
        model.press('n', now);
        assert!(screen(&model)[7].starts_with("cancelled"));
        model.update(holding(), now);
        model.press('j', now);
        assert!(screen(&model)[7].starts_with("P: promote   R: roll back   up/down"));
        model.lose("no fleet".to_owned());
        assert_eq!(screen(&model)[7], "no fleet");
    }

    #[test]
    fn screen_without_room_is_drawn() {
        for (width, height) in [(1, 1), (3, 2), (200, 1)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &model(), SystemTime::UNIX_EPOCH)).unwrap();
        }
        assert_eq!(bars([0.0, 0.1, 50.0, 100.0, 400.0].iter()), " ▁▁▂█");
    }
}
