use proptest::prelude::*;

use super::super::fuzzing;
use super::*;

const PATH: &str = "/etc/app.toml";

fn values(text: &str) -> Vec<String> {
    let Parsed { mut settings, problems } = parse(Path::new(PATH), text);
    assert!(problems.is_empty(), "{problems:?}");
    settings.sort_by_key(|setting| setting.place);
    settings
        .iter()
        .map(|Setting { row, value, place }| format!("{place} {} {}", row.name, value.spell()))
        .collect()
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(Path::new(PATH), text).problems;
    problems.iter().map(|(_, error)| error.to_string()).collect()
}

#[test]
fn values_have_the_types_of_toml() {
    let text = r#"
# a comment
workers = 4
reuseport = true
shutdown_grace = "90s"
max_rss = "512MiB"
nice = -5
addr = ["127.0.0.1:80", "unix:/run/a, b"]
unix_mode = 0o660
backlog = 0x400
user = 33
landlock_read = ["/etc/ssl", "/a:b"]
landlock_write = "/var/lib:x"
"title" = 'it''is'
"#
    .replace("it''is", "it is");
    assert_eq!(
        values(&text),
        [
            "3:11 workers 4",
            "4:13 reuseport true",
            "5:18 shutdown_grace 1m 30s",
            "6:11 max_rss 536870912",
            "7:8 nice -5",
            "8:8 addr 127.0.0.1:80, unix:/run/a, b",
            "9:13 unix_mode 0o660",
            "10:11 backlog 1024",
            "11:8 user 33",
            "12:17 landlock_read /etc/ssl, /a:b",
            "13:18 landlock_write /var/lib:x",
            "14:11 title it is",
        ]
    );
    assert_eq!(
        values("max_rss = 1_000\r\nunix_mode = \"660\"\r\n"),
        ["1:11 max_rss 1000", "2:13 unix_mode 0o660"]
    );
    assert_eq!(values("\u{feff}workers = 1"), ["1:11 workers 1"]);
    assert_eq!(values(""), [""; 0]);
}

#[test]
fn every_problem_is_named_with_its_place() {
    let text = r#"workers = -1
shutdown_grace = 5
worker = 4
stop_delay = "soon"
reuseport = "yes"
recover = "5"
health = "here"
unix_mode = 660
addr = ["127.0.0.1:80", 80]
bind = ":80"
ready = "manual"
config = "/etc/other.toml"
colour = "blue"
on_child_spawn = "f"
max_lifetime = 1979-05-27
[server]
workers = 1
"#;
    assert_eq!(
        problems(text),
        [
            "/etc/app.toml:1:11: workers cannot be `-1`: expected a number from 0 to 8192",
            "/etc/app.toml:2:18: shutdown_grace cannot be `5`: expected a duration such as `250ms`, `5s` or `2m`",
            "/etc/app.toml:3:1: unknown option `worker`: did you mean `workers`?",
            "/etc/app.toml:4:14: stop_delay cannot be `soon`: expected a duration such as `250ms`, `5s` or `2m`",
            "/etc/app.toml:5:13: reuseport cannot be `\"yes\"`: expected `true` or `false`",
            "/etc/app.toml:6:11: recover cannot be `\"5\"`: expected a number from 0 to 4294967295",
            "/etc/app.toml:7:10: health: `here` has no port: write `here:8080`",
            "/etc/app.toml:8:13: unix_mode cannot be `660`: expected permissions in octal, such as `660`, from `0o000` \
             to `0o777`",
            "/etc/app.toml:9:8: addr cannot be `[\"127.0.0.1:80\", 80]`: expected `host:port`, `:port`, \
             `[v6 address]:port` or `unix:/path`",
            "/etc/app.toml:10:1: unknown option `bind`: did you mean `addr`?",
            "/etc/app.toml:11:1: `ready` can only be set by the program itself",
            "/etc/app.toml:12:1: `config` names this file, and cannot be set in it",
            "/etc/app.toml:13:1: unknown option `colour`",
            "/etc/app.toml:14:1: `on_child_spawn` can only be set by the program itself",
            "/etc/app.toml:15:16: max_lifetime cannot be `1979-05-27`: expected a duration such as `250ms`, `5s` or `2m`",
            "/etc/app.toml:16:2: `server` is a table: options stand at the top of the file, without tables",
        ]
    );
}

#[test]
fn tables_are_answered_with_where_options_stand() {
    let text = "a.workers = 1\na.nice = 2\naddr = { host = \"x\" }\n[workers]\n[prefork]\nworkers = 4\n[[b]]\n[\"c\\n\"]";
    let found = problems(text);
    let start = "options stand at the top of the file, without tables";
    let expected = ["1:1: `a` is a", "3:1: `addr` is a", "4:2: `workers` is a", "5:2: `prefork` is a"];
    let expected = expected.map(|of| format!("/etc/app.toml:{of} table: {start}"));
    assert_eq!(found[..4], expected);
    assert_eq!(found[4], format!("/etc/app.toml:7:3: `b` is an array of tables: {start}"));
    assert_eq!(found[5], format!("/etc/app.toml:8:2: `c\\n` is a table: {start}"));
    assert_eq!(found.len(), 6, "{found:#?}");
}

#[test]
fn message_about_a_key_is_one_line() {
    assert_eq!(problems("\"a\\n\\u001b\" = 1"), ["/etc/app.toml:1:1: unknown option `a\\n\\u{1b}`"]);
}

#[test]
fn malformed_lines_and_invalid_values_are_reported_together() {
    let text = "workers = \nbacklog = 0\nnice = ]\nnice = 3\nworkers = 3\n";
    let found = problems(text);
    assert!(found[0].starts_with("/etc/app.toml:1:11: "), "{found:#?}");
    assert!(found[1].starts_with("/etc/app.toml:2:11: backlog cannot be `0`"), "{found:#?}");
    assert!(found[2].starts_with("/etc/app.toml:3:8: "), "{found:#?}");
    assert_eq!(found[3..], ["/etc/app.toml:4:1: duplicate key", "/etc/app.toml:5:1: duplicate key"]);
}

#[cfg(not(feature = "rustls"))]
#[test]
fn option_of_a_missing_feature_names_it() {
    let expected = "/etc/app.toml:1:1: `client_ca` has no effect: the program is built without the feature `rustls` of \
                    prefork";
    assert_eq!(problems("client_ca = \"ca.pem\""), [expected]);
}

#[test]
fn long_values_and_many_problems_are_cut() {
    let found = problems(&format!("title = 7{}", "7".repeat(100)));
    assert!(found[0].contains(&format!("`{}…`", "7".repeat(60))), "{found:#?}");
    // The reason quotes an address twice.
    let found = problems(&format!("health = '{}'", "a".repeat(500)));
    assert!(found[0].ends_with(&format!(": health: `{}…", "a".repeat(199))), "{found:#?}");
    let found = problems(&format!("health = '{}'", "a".repeat(80)));
    assert!(found[0].ends_with("aaa:8080`"), "{found:#?}");
    // With a cost that grows with the square of their number, this takes minutes.
    let text: String = (0..40_000).map(|number| format!("a{number} = 1\nb{number} =\n")).collect();
    let last = "cannot use the configuration file /etc/app.toml: it has 79950 further problems";
    assert_eq!(problems(&text)[PROBLEMS_MAX..], [last]);
}

proptest! {
    #[test]
    fn any_value_is_taken_or_refused(
        lines in prop::collection::vec(
            (prop::sample::select(prefork_options::OPTIONS), r#"[ -~\n\u{e9}"'\[\]{},=.#0-9a-z]{0,12}"#),
            0..6,
        ),
    ) {
        let text: String = lines.iter().map(|(row, value)| format!("{} = {value}\n", row.name)).collect();
        fuzzing::config(text.as_bytes());
    }
}
