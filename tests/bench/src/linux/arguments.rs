//! The command line.

use std::path::PathBuf;

use clap::Parser;

use super::group::Group;

/// Measures prefork beside other servers and beside processes that are forked by hand.
#[derive(Debug, Parser)]
#[command(name = "prefork-bench")]
pub(crate) struct Arguments {
    /// What to measure: `all`, or some of throughput, life, scale, balance, build. A quick `all` leaves out `build`,
    /// which compiles programs for a minute and more.
    groups: Vec<String>,
    /// Fewer and shorter rounds: `all` takes less than three minutes.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Print the groups, and the contenders that this machine has, and measure nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Write the report there as Markdown, with SVG plots.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Measure those contenders only whose name contains this, and the floors; can be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The children of each contender; by default one for each core, and 4 in the group `balance`.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) workers: Option<usize>,
    /// The numbers of children in the group `scale`, such as 2,16,128,1000,5000.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = at_least_one)]
    pub(crate) children: Vec<usize>,
    /// The number of rounds in each group, in place of its own.
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) rounds: Option<usize>,
}

fn at_least_one(text: &str) -> Result<usize, &'static str> {
    text.parse().ok().filter(|number| *number > 0).ok_or("expected a number from 1")
}

/// Ends the program with a message if the command line is wrong.
pub(crate) fn parse() -> Arguments {
    let arguments = Arguments::parse();
    let unknown = arguments.groups.iter().find(|name| *name != "all" && Group::named(name).is_none());
    let problem = match unknown {
        Some(name) => format!("there is no group {name}"),
        None if arguments.groups.is_empty() && !arguments.list => "name a group, or `all`".to_owned(),
        None => return arguments,
    };
    let mut command = <Arguments as clap::CommandFactory>::command();
    command.error(clap::error::ErrorKind::InvalidValue, problem).exit()
}

impl Arguments {
    pub(crate) fn groups(&self) -> Vec<Group> {
        let all = self.groups.iter().any(|name| name == "all");
        let is_named = |group: Group| self.groups.iter().any(|name| name == group.name());
        let is_wanted = |group: &Group| is_named(*group) || (all && (!self.quick || group.is_quick()));
        Group::ALL.into_iter().filter(is_wanted).collect()
    }

    /// A part of a name that no contender has.
    pub(crate) fn unknown_contender<'a>(&'a self, names: &[&str]) -> Option<&'a str> {
        let is_unknown = |part: &&String| !names.iter().any(|name| name.contains(part.as_str()));
        self.only.iter().find(is_unknown).map(String::as_str)
    }

    /// Whether a contender is to be measured. Without the floors there would be no ratios.
    pub(crate) fn wants(&self, contender: &str) -> bool {
        let is_floor = [super::contender::FLOOR, super::contender::SPAWNED].contains(&contender);
        self.only.is_empty() || is_floor || self.only.iter().any(|part| contender.contains(part))
    }
}
