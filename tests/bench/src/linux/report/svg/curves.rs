//! Plots of one metric at several sizes: what costs the same for each child is a level line.

use std::path::Path;

use plotters::prelude::*;

use super::super::table::{Table, Unit};
use crate::linux::BenchResult;
use crate::linux::contender::{PRELOAD, REUSEPORT, SHARED, SPAWNED};

const SIZE: (u32, u32) = (760, 360);
/// Beside a curve's last point: room for its name.
const NAMES: f64 = 6.0;

struct Curve<'a> {
    name: &'a str,
    points: Vec<(f64, f64)>,
}

/// Draws the medians of all contenders; `false` if there is nothing to draw.
pub(super) fn draw(table: &Table, path: &Path) -> BenchResult<bool> {
    let curves: Vec<Curve<'_>> = curves(table);
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let Some(largest) = all().map(|(size, _)| *size).reduce(f64::max) else { return Ok(false) };
    let smallest = all().map(|(size, _)| *size).fold(largest, f64::min);
    if smallest >= largest {
        return Ok(false);
    }
    let lowest = all().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let highest = all().map(|(_, value)| *value).fold(0.0, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}, by the number of children", table.title), ("sans-serif", 14))
        .margin(12)
        .x_label_area_size(28)
        .y_label_area_size(64)
        .build_cartesian_2d(
            (smallest..largest * NAMES).log_scale(),
            (lowest / 2.0..highest * 2.0).log_scale(),
        )?;
    let unit = table.metrics.first().map_or(Unit::Index, |metric| metric.unit);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|size| format!("{size:.0}"))
        .y_label_formatter(&|value| unit.show(*value))
        .draw()?;
    for curve in &curves {
        let color = color_of(curve.name);
        let line = PathElement::new(curve.points.clone(), color.stroke_width(2));
        chart.draw_series(std::iter::once(line))?;
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;
        let name = |point: &(f64, f64)| {
            let style = ("sans-serif", 12).into_font().color(&color);
            EmptyElement::at(*point) + Text::new(curve.name.to_owned(), (8, -6), style)
        };
        chart.draw_series(curve.points.last().iter().map(|point| name(point)))?;
    }
    area.present()?;
    Ok(true)
}

/// A contender has the same colour in all plots.
fn color_of(name: &str) -> RGBColor {
    match name {
        REUSEPORT => RGBColor(0xb7, 0x41, 0x0e),
        SHARED => RGBColor(0xe0, 0x8a, 0x1e),
        PRELOAD => RGBColor(0x8b, 0x1e, 0x5f),
        SPAWNED => RGBColor(0x55, 0x60, 0x6a),
        _ => RGBColor(0x1f, 0x77, 0x8d),
    }
}

fn curves(table: &Table) -> Vec<Curve<'_>> {
    let of_row = |row| -> Vec<(f64, f64)> {
        let at = |(metric, size): (usize, &usize)| {
            let median = table.summary(row, metric)?.median;
            #[expect(clippy::cast_precision_loss, reason = "a number of children")]
            let point = (*size as f64, median);
            // The axes are logarithmic.
            (median > 0.0 && median.is_finite()).then_some(point)
        };
        table.sizes.iter().enumerate().filter_map(at).collect()
    };
    table.rows.iter().map(|row| Curve { name: &row.name, points: of_row(row) }).collect()
}
