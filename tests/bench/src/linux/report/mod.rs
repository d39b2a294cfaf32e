//! Tables of figures, and their forms: text while they are made, then Markdown with SVG plots.

mod markdown;
mod svg;
mod table;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) use table::{Better, Metric, Table, Unit};

use super::BenchResult;
use super::arguments::Arguments;
use super::contender::Contender;
use super::machine;

/// The name of the page, and of the directory beside it that has its plots.
const PAGE: &str = "benchmarks";

/// What is known of the run, and the tables that are complete.
pub(crate) struct Report {
    machine: Vec<(&'static str, String)>,
    contenders: Vec<(String, String)>,
    skipped: Vec<String>,
    command: String,
    quick: bool,
    directory: Option<PathBuf>,
    tables: Vec<Table>,
}

impl Report {
    pub(crate) fn begin(
        contenders: &[Contender],
        skipped: Vec<String>,
        arguments: &Arguments,
    ) -> BenchResult<Self> {
        let command: Vec<String> = std::env::args().skip(1).collect();
        let report = Self {
            machine: machine::describe(),
            contenders: contenders.iter().map(|one| (one.name.to_owned(), one.version.clone())).collect(),
            skipped,
            command: format!("cargo run --release -p prefork-bench -- {}", command.join(" ")),
            quick: arguments.quick,
            directory: arguments.out.clone(),
            tables: Vec::new(),
        };
        text::print_head(&report);
        if let Some(directory) = &report.directory {
            report
                .write(directory)
                .map_err(|error| format!("cannot write to {}: {error}", directory.display()))?;
        }
        Ok(report)
    }

    /// Prints a table, and writes the files again: what is measured is not lost if something fails later.
    pub(crate) fn add(&mut self, table: Table) -> BenchResult<()> {
        text::print_table(&table);
        self.tables.push(table);
        self.directory.as_deref().map_or(Ok(()), |directory| self.write(directory))
    }

    fn write(&self, directory: &Path) -> BenchResult<()> {
        let beside = directory.join(PAGE);
        fs::create_dir_all(&beside)?;
        let mut plots = Vec::new();
        for table in &self.tables {
            plots.push(svg::write(table, &beside)?);
        }
        Ok(fs::write(beside.with_extension("md"), markdown::render(self, &plots))?)
    }
}
