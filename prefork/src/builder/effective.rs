//! The effective options as text, each with its source. The text is TOML, and a configuration file.

use std::fmt::Write as _;

use prefork_options::{self as options, FileMode, Kind, OPTIONS, OptionRow, Value};

use super::Prefork;
use super::environment::has_feature;
use super::values::Source;
use crate::listen::{Endpoint, Sharing};
use crate::master::{LoadedBy, Plan};

const HEADING: &str = "# The effective options, and the source of each. As comments: options that are not set, and those that only\n\
                       # the program itself can set.\n";

impl Prefork {
    /// See the [module](self).
    pub(super) fn effective_options(&self, plan: &Plan) -> String {
        let mut text = HEADING.to_owned();
        for row in OPTIONS.iter().filter(|row| has_feature(row)) {
            if let Some(line) = self.line(row, plan) {
                text += &line;
                text.push('\n');
            }
        }
        text
    }

    /// `None` for an option that is no value, and for one whose setting another row shows.
    fn line(&self, row: &'static OptionRow, plan: &Plan) -> Option<String> {
        if row.name == "preload" {
            let by = match plan.loaded_by? {
                LoadedBy::Template => "once for the children of a generation, in a template",
                LoadedBy::Child => "in each child",
                LoadedBy::OneProcess => "once, in the one process",
            };
            return Some(format!("# preload: loaded {by}; a check does not load"));
        }
        if matches!(row.kind, Kind::Function | Kind::Logger | Kind::CratePath) {
            return None;
        }
        let found = self.values.get(row);
        let is_pem = matches!(found, Some((_, Value::Pem(_))));
        if is_pem != (row.kind == Kind::Pem) {
            return None;
        }
        let name = row.name;
        let (value, source) = match found {
            Some((source, value)) => (value.clone(), self.describe(row, source)),
            None => match self.default_of(row, plan) {
                Ok((value, source)) => (value, source),
                Err(rule) => return Some(format!("# {name}: {rule}")),
            },
        };
        // As a setting of a file it would have no effect.
        let is_idle = *row == options::RUNTIME && found.is_none() && self.serve.is_blocking();
        let comment = if row.is_in_file() && !is_pem && !is_idle { "" } else { "# " };
        Some(format!("{comment}{name} = {}  # {source}", toml(&value)))
    }

    /// The source of a value, in the words of the check.
    pub(super) fn describe(&self, row: &OptionRow, source: Source) -> String {
        match source {
            Source::Attribute => "attribute".to_owned(),
            Source::File => match &self.config {
                Some(file) => format!("file {}", file.place_of(row)),
                None => "file".to_owned(),
            },
            Source::Environment => format!("variable {}", row.variable()),
            Source::Builder => "builder".to_owned(),
        }
    }

    /// The value of an option that is not set, and what it follows from; or the rule, if there is no value.
    fn default_of(&self, row: &OptionRow, plan: &Plan) -> Result<(Value, String), &'static str> {
        let by = |reason: Option<&String>| match reason {
            Some(reason) => format!("default: {reason}"),
            None => "default".to_owned(),
        };
        let value = match row.default_value() {
            Ok(value) => value,
            Err(_) if *row == options::WORKERS => {
                return Ok((plan.settings.workers.into(), by(plan.workers_reason.as_ref())));
            }
            Err(_) if *row == options::ADDR => {
                let addrs: Vec<String> =
                    plan.endpoints.iter().map(|endpoint| endpoint.addr.clone()).collect();
                let is_activated = plan.endpoints.iter().all(Endpoint::is_activated);
                let source = if is_activated { "service manager".to_owned() } else { by(None) };
                return Ok((addrs.into(), source));
            }
            Err(_) if *row == options::REUSEPORT => (plan.sharing == Sharing::Reuseport).into(),
            Err(_) if *row == options::TITLE => plan.title.clone().into(),
            Err(rule) => return Err(rule),
        };
        Ok((value, by(None)))
    }
}

/// A value as TOML.
fn toml(value: &Value) -> String {
    let list = |texts: Vec<String>| {
        let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", texts.join(", "))
    };
    match value {
        Value::Switch(_) | Value::Count(_) | Value::Signed(_) | Value::Size(_) => value.spell(),
        Value::Mode(FileMode(mode)) => format!("{mode:#05o}"),
        Value::List(texts) => list(texts.clone()),
        Value::Paths(paths) => list(paths.iter().map(|path| path.display().to_string()).collect()),
        _ => quoted(&value.spell()),
    }
}

/// A basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => {
                // `write!` to a String cannot fail.
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::privileges::Privileges;

    fn serve(_: TcpListener) {}

    fn lines(mut fleet: Prefork) -> Vec<String> {
        let plan = fleet.plan(Vec::new(), &Privileges::default()).unwrap();
        fleet.effective_options(&plan).lines().map(str::to_owned).collect()
    }

    #[test]
    fn each_option_has_a_line_with_its_source() {
        let fleet = Prefork::new(serve).workers(3).keepalive("90s").network("tcp").with_attribute_values();
        let lines = lines(fleet.addrs(["127.0.0.1:0"]).unix_mode(0o640).title(r#"a "b" \c"#));
        for line in [
            r#"addr = ["127.0.0.1:0"]  # builder"#,
            r#"network = "tcp"  # attribute"#,
            "workers = 3  # attribute",
            "# max_workers: no limit",
            r#"shutdown_grace = "5s"  # default"#,
            r#"keepalive = "1m 30s"  # attribute"#,
            "nodelay = false  # default",
            "unix_mode = 0o640  # builder",
            r#"title = "a \"b\" \\c"  # builder"#,
            r#"# ready = "auto"  # default"#,
            "# cert: no TLS",
        ] {
            assert!(lines.contains(&line.to_owned()), "{line}: {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("on_child_spawn") || line.contains("_pem")));
    }

    #[test]
    fn unset_options_that_the_system_decides_have_their_value() {
        let lines = lines(Prefork::new(serve));
        let workers = lines.iter().find(|line| line.starts_with("workers = ")).unwrap();
        assert!(workers.contains("# default: "), "{workers}");
        assert!(lines.contains(&r#"addr = ["127.0.0.1:8080"]  # default"#.to_owned()), "{lines:#?}");
    }

    #[test]
    fn keys_are_not_shown() {
        fn serve(_: TcpListener, _: &[u8], _: &[u8]) {}
        let lines = lines(Prefork::new(serve).cert_pem("the certificate", "the key"));
        assert!(lines.contains(&r#"# key_pem = "embedded"  # builder"#.to_owned()), "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("the key") || line.starts_with("# key:")));
    }

    #[test]
    fn values_are_written_as_toml() {
        let cases: [(Value, &str); 5] = [
            (true.into(), "true"),
            ((-5).into(), "-5"),
            (Duration::from_millis(1500).into(), r#""1s 500ms""#),
            (vec!["/a b".to_owned(), "\n".to_owned()].into(), r#"["/a b", "\u000A"]"#),
            (FileMode(0).into(), "0o000"),
        ];
        for (value, text) in cases {
            assert_eq!(toml(&value), text);
        }
    }
}
