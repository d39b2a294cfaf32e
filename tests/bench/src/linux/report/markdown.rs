//! The report as a page.

use std::fmt::Write;

use super::{PAGE, Report, Table};

const HOW_TO_READ: &str = "\
Each cell has the ratio to the floor, then the median, the lowest and the highest of all rounds. The contenders took \
turns, round by round; a ratio is the median of the ratios within the rounds, so that a change of the whole machine \
does not show in it. Below each table is the spread of the floor, which is the noise of that table: a smaller \
difference between two contenders means nothing. Client and server shared the machine.";

/// `plots` has the names of the plots of each table.
pub(super) fn render(report: &Report, plots: &[Vec<String>]) -> String {
    let mut page = String::from("# Benchmarks\n\n");
    let _ = write!(page, "```console\n$ {}\n```\n\n{HOW_TO_READ}\n\n", report.command);
    if report.quick {
        page += "**These figures are of a quick run, which is to see that everything works: do not quote them.**\n\n";
    }
    page += "| machine | |\n|---|---|\n";
    for (name, value) in &report.machine {
        let _ = writeln!(page, "| {name} | {value} |");
    }
    page += "\n| contender | version |\n|---|---|\n";
    for (name, version) in &report.contenders {
        let _ = writeln!(page, "| {name} | {version} |");
    }
    for reason in &report.skipped {
        let _ = writeln!(page, "\nSkipped: {reason}.");
    }
    for (table, plots) in report.tables.iter().zip(plots) {
        write_table(&mut page, table, plots);
    }
    page
}

fn write_table(page: &mut String, table: &Table, plots: &[String]) {
    let _ = write!(page, "\n## {}\n\n| × {} |", table.title, table.floor);
    for metric in &table.metrics {
        let _ = write!(page, " {} |", metric.name);
    }
    let _ = write!(page, "\n|---|{}\n", "---|".repeat(table.metrics.len()));
    for row in &table.rows {
        let _ = write!(page, "| {} |", row.name);
        for metric in 0..table.metrics.len() {
            let _ = write!(page, " {} |", table.cell(row, metric));
        }
        page.push('\n');
    }
    for note in table.drift_sentence().iter().chain(&table.notes) {
        let _ = writeln!(page, "\n{note}");
    }
    for plot in plots {
        let _ = writeln!(page, "\n![{}]({PAGE}/{plot})", table.title);
    }
}
