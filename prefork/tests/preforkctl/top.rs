//! `top` in a terminal: rows that it has no room for, and a fleet that ends.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Fleet, Terminal, command, false_fleet, wait_for};

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

#[test]
fn top_marks_a_fleet_that_is_gone_until_another_one_takes_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let mut first = Fleet::start();
    symlink(first.path("socket"), &path).unwrap();
    let mut top = Terminal::start(command(&path, &["top", "--interval", "0.1"]));
    top.wait_for("2 of 2 ready");
    first.master.kill().unwrap();
    top.wait_until("a fleet that is gone", |screen| {
        screen.starts_with("gone: no answer for ")
            && !screen.contains("2 of 2 ready")
            && !screen.contains('%')
    });
    // It asks nothing of a fleet that is gone.
    top.press("r");
    let second = Fleet::start();
    fs::remove_file(&path).unwrap();
    symlink(second.path("socket"), &path).unwrap();
    let master = format!("serving: 2 of 2 ready, generation 0, master {}", second.master.id());
    top.wait_for(&master);
    top.press("q");
    wait_for("end of top", || top.process.try_wait().unwrap().is_some());
}
