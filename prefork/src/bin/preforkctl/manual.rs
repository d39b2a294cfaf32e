//! The manual pages: one of preforkctl, which names the others, and one of each command.

use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments::{AFTER_HELP, Arguments};
use crate::failure::Failure;

const SOURCE: &str = concat!("preforkctl ", env!("CARGO_PKG_VERSION"));

/// Prints the page of preforkctl.
pub(crate) fn print() -> Result<(), Failure> {
    let mut page = Vec::new();
    let rendered = Man::new(whole()).source(SOURCE).render(&mut page);
    let written = rendered.and_then(|()| io::stdout().write_all(&page));
    written.map_err(|error| Failure::NotDone(format!("cannot write to standard output: {error}")))
}

/// Writes all pages, under the names by which man(1) finds them.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let whole = whole();
    let of_command = |command: &Command| Man::new(command.clone().after_help(AFTER_HELP)).source(SOURCE);
    let pages = whole.get_subcommands().map(of_command).chain([Man::new(whole.clone()).source(SOURCE)]);
    for page in pages {
        page.generate_to(directory).map_err(|error| {
            Failure::NotDone(format!("cannot write manual pages to {}: {error}", directory.display()))
        })?;
    }
    Ok(())
}

/// The command line, whose commands know their full names. `help` has no page.
fn whole() -> Command {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    whole
}
