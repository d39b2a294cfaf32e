//! Plots. Of sizes: curves. Otherwise bars: for each metric the ratio of every contender to the floor, with the range of the rounds.

mod curves;

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Table;
use super::table::Better;
use crate::linux::BenchResult;
use crate::linux::statistics::Summary;

const WIDTH: i32 = 760;
const NAMES: i32 = 260;
const VALUES: i32 = 60;
const ROW: i32 = 22;
const HEAD: i32 = 44;
const OWN: RGBColor = RGBColor(0xb7, 0x41, 0x0e);
const OTHER: RGBColor = RGBColor(0x7a, 0x8a, 0x99);

/// Writes the plots of a table, and returns the names of their files.
pub(super) fn write(table: &Table, directory: &Path) -> BenchResult<Vec<String>> {
    if !table.sizes.is_empty() {
        let name = file_name(&table.title);
        let drawn = curves::draw(table, &directory.join(&name))?;
        return Ok(drawn.then_some(name).into_iter().collect());
    }
    let mut names = Vec::new();
    for (place, metric) in table.metrics.iter().enumerate().filter(|(_, metric)| metric.plotted) {
        let bars: Vec<(&str, Summary)> = table
            .rows
            .iter()
            .filter_map(|row| Some((row.name.as_str(), table.ratio(row, place)?)))
            .filter(|(_, ratio)| ratio.median.is_finite())
            .collect();
        // One alone is compared with nothing.
        if bars.len() < 2 {
            continue;
        }
        let better = if metric.better == Better::More { "more" } else { "less" };
        let title = format!("{}: {}, × {}; {better} is better", table.title, metric.name, table.floor);
        let name = file_name(&format!("{} {}", table.title, metric.name));
        draw(&directory.join(&name), &title, &bars)?;
        names.push(name);
    }
    Ok(names)
}

fn file_name(title: &str) -> String {
    let words = title.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase() + ".svg"
}

fn draw(path: &Path, title: &str, bars: &[(&str, Summary)]) -> BenchResult<()> {
    let rows = i32::try_from(bars.len())?;
    let height = HEAD + rows * ROW + 12;
    let area = SVGBackend::new(path, (WIDTH.try_into()?, height.try_into()?)).into_drawing_area();
    area.fill(&WHITE)?;
    let text =
        |size: i32, side| ("sans-serif", size).into_font().color(&BLACK).pos(Pos::new(side, VPos::Center));
    area.draw_text(title, &text(13, HPos::Left), (12, 18))?;
    let finite = bars.iter().map(|(_, ratio)| ratio.highest).filter(|ratio| ratio.is_finite());
    // A bar that would leave no room for the others is cut.
    let longest = finite.fold(1.0, f64::max).min(4.0);
    #[expect(clippy::cast_possible_truncation, reason = "a place in the plot")]
    let place =
        |ratio: f64| NAMES + (ratio.min(longest) / longest * f64::from(WIDTH - NAMES - VALUES)) as i32;
    for (row, (name, ratio)) in (0..).zip(bars) {
        let middle = HEAD + row * ROW + ROW / 2;
        let color = if name.starts_with("prefork") { OWN } else { OTHER };
        area.draw_text(name, &text(12, HPos::Right), (NAMES - 8, middle))?;
        let corners = [(NAMES, middle - 7), (place(ratio.median), middle + 7)];
        area.draw(&Rectangle::new(corners, color.filled()))?;
        let range = vec![(place(ratio.lowest), middle), (place(ratio.highest), middle)];
        area.draw(&PathElement::new(range, BLACK))?;
        let value = format!("{:.2}", ratio.median);
        area.draw_text(&value, &text(12, HPos::Left), (place(ratio.highest.max(ratio.median)) + 6, middle))?;
    }
    let floor = vec![(place(1.0), HEAD - 6), (place(1.0), height - 8)];
    area.draw(&PathElement::new(floor, BLACK.mix(0.5)))?;
    Ok(area.present()?)
}
