//! The report on standard output.

use super::{Report, Table};

pub(super) fn print_head(report: &Report) {
    for (name, value) in &report.machine {
        println!("{name}: {value}");
    }
    for (name, version) in &report.contenders {
        println!("contender: {name} {version}");
    }
    for reason in &report.skipped {
        println!("skipped: {reason}");
    }
}

pub(super) fn print_table(table: &Table) {
    println!("\n{} (× {})", table.title, table.floor);
    let mut lines = vec![vec![String::new()]];
    lines[0].extend(table.metrics.iter().map(|metric| metric.name.to_string()));
    for row in &table.rows {
        let cells = (0..table.metrics.len()).map(|metric| table.cell(row, metric));
        lines.push(std::iter::once(row.name.clone()).chain(cells).collect());
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=table.metrics.len()).map(width).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    for note in table.drift_sentence().iter().chain(&table.notes) {
        println!("  {note}");
    }
}
