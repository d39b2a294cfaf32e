//! `top` in a terminal: rows that it has no room for.

use super::{Terminal, command, false_fleet};

#[test]
fn top_reaches_the_rows_beyond_the_screen() {
    let directory = tempfile::tempdir().unwrap();
    let child =
        |slot: u32| format!(r#"{{"slot":{slot},"pid":{},"generation":0,"state":"ready"}}"#, 1000 + slot);
    let children: Vec<String> = (0..40).map(child).collect();
    let status = format!(
        r#"{{"state":"serving","master":1,"generation":0,"slots":40,"ready":40,"children":[{}]}}"#,
        children.join(",")
    );
    let socket = false_fleet::start(&directory, 200, status);
    let mut top = Terminal::start(command(&socket, &["top", "--interval", "0.1"]));
    top.wait_for("1-16 of 40");
    let [page_up, page_down, home, end] = ["\x1b[5~", "\x1b[6~", "\x1b[H", "\x1b[F"];
    for (key, rows, pid) in [
        (page_down, "17-32 of 40", "1031"),
        (end, "25-40 of 40", "1039"),
        (page_up, "9-24 of 40", "1008"),
        (home, "1-16 of 40", "1000"),
        ("G", "25-40 of 40", "1024"),
        ("g", "1-16 of 40", "1015"),
    ] {
        top.press(key);
        top.wait_until(rows, |screen| screen.contains(rows) && screen.contains(pid));
    }
}
