//! The page of the health endpoint, in a browser.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic in a test helper fails the test")]

use std::net::SocketAddr;
use std::process::Command;

use prefork_tests::fleet::Server;
use prefork_tests::signal::{Signal, send};
use prefork_tests::skip::skipped;
use prefork_tests::status::Status;
use prefork_tests::{client, wait};

const SERVER: &str = env!("CARGO_BIN_EXE_server");
#[cfg(target_env = "gnu")]
const PRELOAD_SERVER: &str = env!("CARGO_BIN_EXE_preload_server");
const SHARED_VALUES_SERVER: &str = env!("CARGO_BIN_EXE_shared_values_server");

/// What the browser has made of the page after some polls, and what it says of errors; `None` without a browser.
fn in_browser(addr: SocketAddr) -> Option<(String, String)> {
    let profile = tempfile::tempdir().unwrap();
    let output = Command::new("chromium-headless-shell")
        .args(["--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--log-level=0", "--dump-dom"])
        // Time that passes at once when nothing is under way: four polls.
        .arg("--virtual-time-budget=7000")
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{addr}/"))
        .output()
        .ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((text(&output.stdout), text(&output.stderr)))
}

#[test]
fn page_shows_the_fleet() {
    let fleet = Server::new(SERVER).set("health", "127.0.0.1:0").set("workers", 3).start();
    let Some((page, said)) = in_browser(fleet.health_addr()) else { return skipped("browser") };
    // What the browser's console has: errors of the script, and what the policy forbids.
    assert!(!said.contains("CONSOLE"), "{said}");
    assert!(page.contains(r#"class="state good" role="status">serving<"#), "{page}\n{said}");
    assert!(page.contains("3 of 3 ready, generation 0, master"), "{page}");
    for child in fleet.children() {
        assert!(page.contains(&format!("<td>{child}</td>")), "{page}");
    }
    // Each head of the table can be reached and pressed by the keyboard.
    assert_eq!(page.matches("<th scope=\"col\" data-column=").count(), page.matches("<button type=").count());
    assert!(page.contains("aria-sort=\"ascending\""), "{page}");
    // The charts have at least two points: from two polls.
    assert!(
        page.split("memory-line\" points=\"").nth(1).unwrap().split('"').next().unwrap().contains(' '),
        "{page}"
    );
    fleet.stop();
}

#[test]
#[cfg(target_env = "gnu")]
fn page_shows_the_template() {
    let fleet = Server::new(PRELOAD_SERVER).set("health", "127.0.0.1:0").start();
    let pid: u32 = Status::of(fleet.health_addr()).templates()[0].get("pid").unwrap();
    let Some((page, said)) = in_browser(fleet.health_addr()) else { return skipped("browser") };
    assert!(!said.contains("CONSOLE"), "{said}");
    let text = format!("<p id=\"templates\">template of generation 0: ready, pid {pid}, up ");
    assert!(page.contains(&text), "{page}\n{said}");
    fleet.stop();
}

#[test]
fn page_shows_requests_and_slots_that_wait() {
    let server = Server::new(SHARED_VALUES_SERVER).set("health", "127.0.0.1:0").set("recover", 1000);
    let fleet = server.set("recover_interval", "10m").start();
    let first = fleet.first_children();
    send(first[0], Signal::SIGKILL);
    wait::until("a slot that waits", || !Status::of(fleet.health_addr()).waiting().is_empty());
    (0..7).for_each(|_| drop(client::get(fleet.addr(), "/count")));
    let Some((page, said)) = in_browser(fleet.health_addr()) else { return skipped("browser") };
    assert!(!said.contains("CONSOLE"), "{said}");
    assert!(page.contains("1 of 2 ready"), "{page}\n{said}");
    let (_, rows) = page.split_once("<tbody id=\"children\">").unwrap();
    let rows: Vec<&str> = rows.split("<tr>").skip(1).collect();
    assert!(rows[0].starts_with("<td>0</td><td>waiting 9m "), "{rows:?}");
    assert!(
        rows[1].starts_with(&format!("<td>1</td><td>ready</td><td>0</td><td>{}</td>", first[1])),
        "{rows:?}"
    );
    assert!(rows[1].contains("<td>7</td></tr>"), "{rows:?}");
    assert!(
        page.contains("<figure id=\"requests-chart\"><figcaption>Requests a second <b id=\"requests\">0</b>"),
        "{page}"
    );
    fleet.stop();
}
