//! The command line.

use std::ffi::OsString;
use std::num::ParseIntError;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Operates a fleet through its control socket. A command ends when the fleet has done what it asks for.
#[derive(Debug, Parser)]
#[command(name = "preforkctl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The fleet's control socket: the value of its option `control`. Without it, that of PREFORK_CONTROL.
    // Not as `env` of clap, for which an empty variable is a wrong path, and a set one an argument.
    #[arg(long, short, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Prints what the fleet answers, in JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

pub(crate) const AFTER_HELP: &str = "\
Exit status:
  0  it was done
  1  it was not done, or undone: standard error says why
  2  the command line is wrong
  3  no fleet answers at the socket
  4  the fleet is busy with another operation";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows what the fleet is doing, and its children.
    Status,
    /// Replaces every child, new before old, by the program that is in the file now.
    Reload(Canary),
    /// Replaces the children that a canary has left.
    Promote,
    /// Replaces the new children of a canary by children of the old program.
    Rollback,
    /// Replaces the master's own program, and then every child.
    Upgrade,
    /// Changes the number of children.
    Scale {
        /// How many there are to be, such as `8`, or how many more or fewer, such as `+2` or `-1`.
        #[arg(value_parser = Count::parse, allow_negative_numbers = true)]
        count: Count,
    },
    /// Replaces the child of one slot.
    Recycle {
        /// The slot, as `status` shows it.
        slot: u32,
    },
    /// Lets the program open its log files again, after they were rotated.
    Reopen,
    /// Stops the fleet: children finish what they have accepted.
    Stop {
        /// Ends the children at once.
        #[arg(long)]
        now: bool,
    },
    /// Shows the children live. Keys recycle a slot or change the number of children.
    Top {
        /// The time between two looks at the fleet, in seconds.
        #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = seconds)]
        interval: f64,
    },
    /// Prints the metrics, in the text format of Prometheus.
    Metrics,
    /// Prints what the master, and prefork in the children, log from now on, a JSON object in each line.
    Events,
    /// Checks whether a program would start: its options, sockets and certificates, without starting it.
    Check {
        /// The program and its arguments. It gets this command's environment.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "PROGRAM")]
        program: Vec<OsString>,
    },
    /// Prints the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Prints the manual page of preforkctl, for man(1), or writes those of all commands.
    Manual {
        /// Writes preforkctl.1, preforkctl-reload.1 and so on to this directory.
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Canary {
    /// Holds after so many children, which serve beside the old ones until `promote`, `rollback` or the end of `--hold`.
    #[arg(long, value_name = "COUNT")]
    pub(crate) canary: Option<u32>,
    /// How long to hold, `90s` or `5m`. Then the other children are replaced too.
    #[arg(long, value_name = "DURATION")]
    pub(crate) hold: Option<String>,
    /// Waits beyond the hold, until every child is new (status 0), or that has failed, was rolled back or replaced by
    /// another reload (status 1).
    #[arg(long)]
    pub(crate) wait: bool,
}

/// A number of children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    To(u32),
    More(u32),
    Fewer(u32),
}

impl Count {
    /// A sign is a difference, not a part of the number.
    fn parse(text: &str) -> Result<Self, String> {
        let (of, digits): (fn(u32) -> Self, &str) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(digits), _) => (Self::More, digits),
            (_, Some(digits)) => (Self::Fewer, digits),
            (None, None) => (Self::To, text),
        };
        if digits.starts_with(['+', '-']) {
            return Err("expected a number, such as `8`, `+2` or `-1`".to_owned());
        }
        digits.parse().map(of).map_err(|error: ParseIntError| error.to_string())
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse::<f64>().map_err(|error| error.to_string())?;
    if (0.1..=60.0).contains(&seconds) { Ok(seconds) } else { Err("expected 0.1 to 60".to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn number_of_children_may_be_a_difference() {
        let count = |text| {
            let arguments = Arguments::try_parse_from(["preforkctl", "scale", text, "--json"])?;
            let Command::Scale { count } = arguments.command else { panic!("{arguments:?}") };
            Ok::<_, clap::Error>((count, arguments.json))
        };
        for (text, expected) in
            [("8", Count::To(8)), ("0", Count::To(0)), ("+2", Count::More(2)), ("-1", Count::Fewer(1))]
        {
            assert_eq!(count(text).unwrap(), (expected, true), "{text:?}");
        }
        for refused in
            ["", "+", "-", "--", "++1", "+-1", "-+1", "--1", "1.5", "-1.5", "many", "-x", "4294967296"]
        {
            assert!(count(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn arguments_of_a_checked_program_are_its_own() {
        let arguments =
            Arguments::try_parse_from(["preforkctl", "check", "/bin/app", "--json", "-x"]).unwrap();
        assert!(!arguments.json);
        let Command::Check { program } = arguments.command else { panic!("{arguments:?}") };
        assert_eq!(program, ["/bin/app", "--json", "-x"]);
    }
}
