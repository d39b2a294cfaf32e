//! The benchmark, which is for Linux.
//!
//! - [`arguments`]: the command line
//! - [`machine`]: the machine that is measured
//! - [`process`]: processes, their CPU time, memory and end
//! - [`keeper`]: ends what is left if this program is killed
//! - [`contender`]: what is compared, and how it is started
//! - [`server`]: the servers that this program runs itself
//! - [`client`]: the load generator
//! - [`group`]: what is measured
//! - [`statistics`]: medians and ratios
//! - [`report`]: tables, as text, Markdown and SVG

mod arguments;
mod client;
mod contender;
mod group;
mod keeper;
mod machine;
mod process;
mod report;
mod server;
mod statistics;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use self::arguments::Arguments;
use self::group::Context;
use self::report::Report;

pub(crate) type BenchResult<T> = Result<T, Box<dyn Error>>;

pub(crate) fn main() -> ExitCode {
    if keeper::run_if_asked() {
        return ExitCode::SUCCESS;
    }
    let done = server::run_if_asked().unwrap_or_else(|| measure(&arguments::parse()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> BenchResult<()> {
    if arguments.list {
        return list();
    }
    process::prepare()?;
    // All files of this run, so that they can be removed however it ends.
    let scratch = tempfile::Builder::new().prefix("prefork-bench-").tempdir()?;
    tempfile::env::override_temp_dir(scratch.path())
        .map_err(|_| "a directory for this run was set before")?;
    keeper::start(scratch.path())?;
    // Dropped last, also in a panic.
    let end_of_all = process::EndOfAll::new(scratch.path())?;
    let (contenders, skipped) = contender::all();
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
    if let Some(part) = arguments.unknown_contender(&names) {
        return Err(format!("no contender that this machine has is called `{part}`; see --list").into());
    }
    let contenders = contenders.into_iter().filter(|contender| arguments.wants(contender.name)).collect();
    let context = Context::new(arguments, contenders)?;
    let mut report = Report::begin(&context.contenders, skipped, arguments)?;
    for group in arguments.groups() {
        eprintln!("measuring: {}", group.describe());
        let start = Instant::now();
        group.run(&context, &mut report)?;
        eprintln!("measured in {} s: {}", start.elapsed().as_secs(), group.name());
    }
    drop(end_of_all);
    Ok(())
}

fn list() -> BenchResult<()> {
    let (contenders, skipped) = contender::all();
    println!("groups:");
    for group in group::Group::ALL {
        println!("  {:<12} {}", group.name(), group.describe());
    }
    println!("contenders:");
    for contender in contenders {
        println!("  {} ({})", contender.name, contender.version);
    }
    for reason in skipped {
        println!("  skipped: {reason}");
    }
    Ok(())
}
