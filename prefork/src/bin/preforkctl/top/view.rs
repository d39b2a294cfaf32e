//! How it looks.

use std::time::SystemTime;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Table, TableState};

use super::columns::Columns;
use super::model::{Lost, Model};
use crate::status::{Status, age_text};

/// In a narrow terminal, the first is left out first.
const KEYS: [&str; 4] = ["up/down: choose", "r: recycle", "+/-: scale", QUIT];
const QUIT: &str = "q: quit";
/// While a reload holds.
const KEYS_OF_CANARY: [&str; 2] = ["P: promote", "R: roll back"];
const KEYS_OF_PAGES: &str = "PgUp, PgDn, Home, End";
const GAP: &str = "   ";

/// Draws the whole screen.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model, now: SystemTime) {
    let area = frame.area();
    let width = usize::from(area.width);
    let head = head(model, now, width, usize::from(area.height / 2).max(1));
    let height = u16::try_from(head.len()).unwrap_or(u16::MAX);
    let parts = [Constraint::Length(height), Constraint::Min(1), Constraint::Length(1)];
    let [top, middle, bottom] = Layout::vertical(parts).areas(area);
    frame.render_widget(Paragraph::new(head), top);
    // Below the names of the columns.
    let (room, count) = (usize::from(middle.height.saturating_sub(1)), model.count());
    let is_part = count > room;
    model.scroll(if is_part { room.saturating_sub(1) } else { room });
    let [middle, position] =
        Layout::vertical([Constraint::Min(1), Constraint::Length(is_part.into())]).areas(middle);
    if let Some(status) = &model.status {
        let mut state = TableState::default().with_selected(model.selected - model.first);
        frame.render_stateful_widget(table(model, status, width), middle, &mut state);
        frame.render_widget(Paragraph::new(position_text(model, count, width)), position);
    }
    let reversed = Style::default().add_modifier(Modifier::REVERSED);
    frame.render_widget(Paragraph::new(foot(model, width)).style(reversed), bottom);
}

/// At most as many lines as there is room for.
fn head(model: &Model, now: SystemTime, width: usize, room: usize) -> Vec<Line<'static>> {
    let Some(status) = &model.status else { return vec![Line::from("waiting for the fleet")] };
    if let Some(Lost { time, .. }) = &model.lost {
        let Status { master, generation, .. } = status;
        let time = age_text(time.as_secs_f64());
        let text = format!("gone: no answer for {time}; last seen: generation {generation}, master {master}");
        return vec![Line::from(shortened(&text, width)).style(Modifier::BOLD)];
    }
    let summary = status.summary(now);
    let mut lines: Vec<Line<'_>> = summary.lines().map(|line| Line::from(shortened(line, width))).collect();
    if let Some(requests) = model.requests() {
        lines.push(Line::from(shortened(&format!("{requests:.0} requests a second"), width)));
    }
    if lines.len() > room {
        lines.truncate(room);
        if let [_, .., last] = lines.as_mut_slice() {
            *last = Line::from("…");
        }
    }
    lines
}

/// The rows on the screen, and the keys for the others.
fn position_text(model: &Model, count: usize, width: usize) -> String {
    let Model { first, .. } = model;
    let rows = format!("{}-{} of {count}", first + 1, (first + model.page).min(count));
    with_keys(rows, vec![KEYS_OF_PAGES], width)
}

fn foot(model: &Model, width: usize) -> String {
    let of_canary = if model.held().is_some() { KEYS_OF_CANARY.as_slice() } else { &[] };
    let keys = [of_canary, &KEYS].concat();
    match (&model.question, &model.lost, &model.message) {
        (Some(question), ..) => question_text(&question.text, width),
        (None, Some(Lost { reason, .. }), _) => with_keys(reason.clone(), vec![QUIT], width),
        (None, None, Some(message)) => with_keys(message.text.clone(), keys, width),
        (None, None, None) => keys_text(keys, width),
    }
}

fn question_text(question: &str, width: usize) -> String {
    let text = format!("{question}? y: yes, any other key: no");
    if text.chars().count() <= width {
        return text;
    }
    let answers = "? y/n";
    shortened(question, width.saturating_sub(answers.len())) + answers
}

/// The text, with the keys that there is room for after it.
fn with_keys(text: String, keys: Vec<&str>, width: usize) -> String {
    let room = width.saturating_sub(text.chars().count() + GAP.len());
    match keys_text(keys, room) {
        keys if keys.chars().count() <= room => text + GAP + &keys,
        _ => shortened(&text, width),
    }
}

/// The keys that there is room for, and the last one in any case.
fn keys_text(mut keys: Vec<&str>, room: usize) -> String {
    loop {
        let text = keys.join(GAP);
        let Some(place) = keys.len().checked_sub(2).filter(|_| text.chars().count() > room) else {
            return text;
        };
        // Those of a canary go after the usual ones.
        let first = keys.iter().take_while(|key| KEYS_OF_CANARY.contains(key)).count();
        keys.remove(first.min(place));
    }
}

/// The text if there is room for it, or its first words with a mark.
pub(super) fn shortened(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width.saturating_sub(1)).collect();
    let words = start.rfind(' ').map_or(start.as_str(), |end| &start[..=end]);
    let mark = if width > 0 { "…" } else { "" };
    format!("{words}{mark}")
}

fn table(model: &Model, status: &Status, width: usize) -> Table<'static> {
    let rows = status.rows();
    let columns = Columns::fitting(&rows, &model.rates, width);
    let shown = rows.iter().skip(model.first).take(model.page);
    let shown = shown.map(|child| columns.row(child, &model.rates));
    let age = if model.lost.is_some() { Modifier::DIM } else { Modifier::empty() };
    Table::new(shown, columns.widths())
        .header(columns.names().style(Style::default().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED))
        .style(Style::default().add_modifier(age))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::super::model::tests::{holding, model, status};
    use super::*;

    fn cells(model: &mut Model, width: u16, height: u16) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model, SystemTime::UNIX_EPOCH)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn sized(model: &mut Model, width: u16, height: u16) -> Vec<String> {
        let buffer = cells(model, width, height);
        let lines = buffer.content().chunks(width.into());
        let lines = lines.map(|cells| cells.iter().map(|cell| cell.symbol()).collect());
        lines.map(|line: String| line.trim_end().to_owned()).collect()
    }

    fn screen(model: &mut Model) -> Vec<String> {
        sized(model, 100, 8)
    }

    /// A fleet with so many children.
    fn large(count: u64) -> Model {
        let mut status = status(1.0, 1);
        let child =
            |slot| format!(r#"{{"slot":{slot},"pid":{},"generation":0,"state":"ready"}}"#, 1_234_000 + slot);
        let children: Vec<String> = (0..count).map(child).collect();
        status.children = serde_json::from_str(&format!("[{}]", children.join(","))).unwrap();
        let mut model = Model::default();
        model.update(status, Instant::now());
        model
    }

    fn first_slots(lines: &[String]) -> Vec<u64> {
        lines.iter().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
    }

    #[test]
    fn screen_has_the_fleet_and_its_children() {
        let lines = screen(&mut model());
        assert_eq!(lines[0], "serving: 2 of 2 ready, generation 2, master 1");
        assert_eq!(lines[1], "25 requests a second");
        assert!(lines[2].starts_with("SLOT STATE"), "{lines:?}");
        assert!(
            lines[3].starts_with("0    ready (leader) 2            7              25      50%   ▄"),
            "{lines:?}"
        );
        assert!(lines[4].starts_with("1    ready          2    1m 15s  12      2.00M"), "{lines:?}");
        assert_eq!(lines[7], KEYS.join(GAP));
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
        let lines = screen(&mut model);
        let row = lines.iter().position(|line| line.starts_with("1    waiting 9s     2")).unwrap();
        assert!(lines[row - 1].starts_with("0    ready (leader) 2"), "{lines:?}");
        assert!(['j', 'r'].into_iter().all(|key| model.press(key, now).is_none()));
        assert!(screen(&mut model)[7].starts_with("recycle slot 1?"), "{lines:?}");
    }

    #[test]
    fn last_line_asks_and_answers() {
        let (mut model, now) = (model(), Instant::now());
        model.press('+', now);
        assert!(screen(&mut model)[7].starts_with("change the number of children to 3? y"));
        model.press('n', now);
        assert!(screen(&mut model)[7].starts_with("cancelled"));
        model.update(holding(), now);
        model.press('j', now);
        assert!(screen(&mut model)[7].starts_with("P: promote   R: roll back   up/down"));
        model.press('P', now);
        assert_eq!(sized(&mut model, 40, 10)[9], "replace the other children by …? y/n");
    }

    #[test]
    fn fleet_that_is_gone_is_marked_as_old() {
        let (mut model, now) = (model(), Instant::now());
        model.update(status(2.0, 150), now);
        model.press('+', now);
        model.lose("no fleet".to_owned(), now + Duration::from_secs(1));
        model.lose("no fleet listens at /a".to_owned(), now + Duration::from_secs(5));
        model.tick(now + Duration::from_secs(72));
        let lines = screen(&mut model);
        assert_eq!(lines[0], "gone: no answer for 1m 12s; last seen: generation 2, master 1");
        assert!(lines[1].starts_with("SLOT STATE"), "{lines:?}");
        assert_eq!(lines[2], "0    ready (leader) 2            7", "there are no rates");
        assert_eq!(lines[7], "no fleet listens at /a   q: quit");
        let buffer = cells(&mut model, 100, 8);
        assert!((0..20).all(|column| buffer[(column, 2)].modifier.contains(Modifier::DIM)));
        model.update(status(3.0, 200), now);
        let lines = screen(&mut model);
        assert!(lines[0].starts_with("serving: 2 of 2 ready"), "{lines:?}");
        assert_eq!(lines[7], KEYS.join(GAP));
        assert!(!cells(&mut model, 100, 8)[(0, 2)].modifier.contains(Modifier::DIM));
    }

    #[test]
    fn numbers_are_whole_in_a_narrow_terminal() {
        let mut model = large(3);
        for width in 18..120 {
            let lines = sized(&mut model, width, 10);
            assert!(
                lines.iter().any(|line| line.ends_with(" 1234002") || line.contains(" 1234002 ")),
                "{lines:?}"
            );
        }
        let lines = sized(&mut model, 40, 10);
        assert_eq!(lines[0], "serving: 2 of 2 ready, generation 2, …");
        assert_eq!(lines[9], "r: recycle   +/-: scale   q: quit");
        assert_eq!(sized(&mut model, 10, 10)[9], QUIT);
    }

    #[test]
    fn rows_beyond_the_screen_are_counted_and_reached() {
        let (mut model, now) = (large(200), Instant::now());
        let mut press = |keys: &str| {
            keys.chars().for_each(|key| assert_eq!(model.press(key, now), None));
            let lines = sized(&mut model, 80, 24);
            (first_slots(&lines), lines[22].clone())
        };
        let shown = |first: u64| ((first..first + 20).collect::<Vec<u64>>(), first + 1, first + 20);
        let steps = [("", 0), (" ", 20), (" k", 39), ("b", 19), ("b", 0), ("jj ", 20), ("G", 180)];
        for (keys, first) in steps.into_iter().chain([(" ", 180), ("jk", 180), ("g", 0)]) {
            let (slots, position) = press(keys);
            let (expected, from, to) = shown(first);
            assert_eq!(slots, expected, "{keys}");
            assert_eq!(position, format!("{from}-{to} of 200   {KEYS_OF_PAGES}"));
        }
        let lines = sized(&mut large(21), 80, 24);
        assert!(!lines.iter().any(|line| line.contains(" of 21")), "all are shown: {lines:?}");
        assert_eq!(sized(&mut model, 20, 10)[8], "1-6 of 200");
    }

    #[test]
    fn result_leaves_out_the_keys_that_have_no_room() {
        let (mut model, now) = (model(), Instant::now());
        model.tell("resized from 8 to 9 children (0.2 s)", now);
        assert_eq!(
            sized(&mut model, 80, 24)[23],
            "resized from 8 to 9 children (0.2 s)   r: recycle   +/-: scale   q: quit"
        );
        assert_eq!(sized(&mut model, 40, 24)[23], "resized from 8 to 9 children (0.2 s)");
        assert_eq!(sized(&mut model, 20, 24)[23], "resized from 8 to …");
        model.update(holding(), now);
        model.press('j', now);
        assert_eq!(sized(&mut model, 40, 24)[23], "P: promote   R: roll back   q: quit");
    }

    #[test]
    fn long_head_leaves_room_for_rows() {
        let (mut model, now) = (model(), Instant::now());
        let listeners: Vec<String> =
            (0..30).map(|port| format!(r#"{{"addr":"127.0.0.1:{port}","queue":0,"limit":128}}"#)).collect();
        let listeners = serde_json::from_str(&format!("[{}]", listeners.join(","))).unwrap();
        model.update(Status { listeners, ..status(3.0, 200) }, now);
        let lines = sized(&mut model, 80, 24);
        assert_eq!((lines[11].as_str(), first_slots(&lines)), ("…", vec![0, 1]));
        let template = |generation| format!(r#"{{"generation":{generation},"pid":7,"state":"ready"}}"#);
        let templates: Vec<String> = (0..30).map(template).collect();
        let templates = serde_json::from_str(&format!("[{}]", templates.join(","))).unwrap();
        model.update(Status { templates, ..status(4.0, 250) }, now);
        let lines = sized(&mut model, 80, 24);
        assert_eq!(lines[1], "template of generation 0: ready, pid 7");
        assert_eq!((lines[11].as_str(), first_slots(&lines)), ("…", vec![0, 1]));
    }

    #[test]
    fn screen_without_room_is_drawn() {
        for width in 1..30 {
            for height in 1..6 {
                cells(&mut large(9), width, height);
                cells(&mut model(), width, height);
            }
        }
    }

    #[test]
    fn text_is_shortened_to_whole_words() {
        let texts = ["waiting 10m 30s", "stopping (leader)", "127.0.0.1:3000"];
        let shorter = |width| texts.map(|text| shortened(text, width)).join("|");
        assert_eq!(shorter(17), texts.join("|"));
        assert_eq!(shorter(14), "waiting 10m …|stopping …|127.0.0.1:3000");
        assert_eq!(
            (shorter(5), shorter(1), shorter(0)),
            ("wait…|stop…|127.…".into(), "…|…|…".into(), "||".into())
        );
    }
}
