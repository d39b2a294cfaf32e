//! The manual pages: one of preforkctl, which names the others, and one of each command.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::arguments::{AFTER_HELP, Arguments};
use crate::failure::Failure;

const SOURCE: &str = concat!("preforkctl ", env!("CARGO_PKG_VERSION"));

/// The heading by which clap_mangen announces what follows the help.
const EXTRA: &str = ".SH EXTRA\n";

/// Prints the page of preforkctl.
pub(crate) fn print() -> Result<(), Failure> {
    let page = text(&page_of(whole()));
    let written = page.and_then(|page| io::stdout().write_all(page.as_bytes()));
    written.map_err(|error| Failure::NotDone(format!("cannot write to standard output: {error}")))
}

/// Writes all pages, under the names by which man(1) finds them.
pub(crate) fn write(directory: &Path) -> Result<(), Failure> {
    let whole = whole();
    for command in whole.get_subcommands().chain([&whole]) {
        let page = page_of(command.clone());
        let path = directory.join(page.get_filename());
        text(&page).and_then(|text| fs::write(path, text)).map_err(|error| {
            Failure::NotDone(format!("cannot write manual pages to {}: {error}", directory.display()))
        })?;
    }
    Ok(())
}

fn page_of(command: Command) -> Man {
    Man::new(command.after_help(exit_status())).source(SOURCE)
}

/// The exit status without its title, which is the heading of a section.
fn exit_status() -> &'static str {
    AFTER_HELP.split_once('\n').map_or(AFTER_HELP, |(_, table)| table)
}

/// The page, with the heading that man-pages(7) has for the exit status.
fn text(page: &Man) -> io::Result<String> {
    let mut bytes = Vec::new();
    page.render(&mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(text.replace(EXTRA, ".SH \"EXIT STATUS\"\n"))
}

/// The command line, whose commands know their full names. `help` has no page.
fn whole() -> Command {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    whole
}
