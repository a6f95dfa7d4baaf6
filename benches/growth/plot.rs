//! Axes -> an SVG with a panel for each thing that grows, both scales logarithmic. A level line is what is wanted.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use super::axis::Axis;

const PANEL_PIXELS: (u32, u32) = (340, 320);
const COLOURS: [RGBColor; 2] = [RGBColor(31, 89, 158), RGBColor(198, 93, 18)];
const PALE: RGBColor = RGBColor(150, 150, 150);

/// How far a panel reaches beyond the costs: a decade is in it, so that noise does not look like growth.
const ROOM: (f64, f64) = (2.0, 4.0);

/// Up to this factor between the first and the last count, ticks double; beyond it they are powers of ten.
const DOUBLINGS_MAX: f64 = 100.0;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Failure<'a> = Box<dyn std::error::Error + 'a>;

/// Draws the axes; those that follow each other and count the same share a panel.
pub(crate) fn draw<'a>(path: &'a Path, axes: &[Axis]) -> Result<(), Failure<'a>> {
    let panels: Vec<&[Axis]> = axes.chunk_by(|a, b| a.counted == b.counted).collect();
    let count = u32::try_from(panels.len())?;
    let root = SVGBackend::new(path, (PANEL_PIXELS.0 * count, PANEL_PIXELS.1)).into_drawing_area();
    root.fill(&WHITE)?;
    for (area, axes) in root.split_evenly((1, panels.len())).iter().zip(panels) {
        panel(area, axes)?;
    }
    root.present()?;
    Ok(())
}

fn panel<'a>(area: &Area<'a>, axes: &[Axis]) -> Result<(), Failure<'a>> {
    let points = || axes.iter().flat_map(|it| it.points.iter().copied());
    let bounds = |of: &mut dyn Iterator<Item = f64>| {
        of.fold((f64::INFINITY, 0.0), |(low, high): (f64, f64), it| (low.min(it), high.max(it)))
    };
    let (left, right) = bounds(&mut points().map(|it| it.0));
    let (low, high) = bounds(&mut points().map(|it| it.1).filter(|it| *it > 0.0));
    // The library's ticks begin at a power of ten, so the panel does.
    let (bottom, top) = (10_f64.powf((low / ROOM.0).log10().floor()), high * ROOM.1);
    let base = if right / left <= DOUBLINGS_MAX { 2.0 } else { 10.0 };
    let names: Vec<&str> = axes.iter().map(|it| it.name).collect();
    let mut chart = ChartBuilder::on(area)
        .caption(names.join(", "), ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d((left..right).log_scale().base(base), (bottom..top).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(axes[0].counted)
        .y_desc(axes[0].unit)
        .x_label_formatter(&short)
        .y_label_formatter(&rounded)
        .draw()?;
    let first = points().next().ok_or("an axis without points")?;
    // What it would be if the cost of a unit grew with the number of units.
    let times = (right / left).min(top / first.1);
    let proportional = [first, (first.0 * times, first.1 * times)];
    chart
        .draw_series(DashedLineSeries::new(proportional, 4, 4, PALE.stroke_width(1)))?
        .label("if in proportion")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 14, y)], PALE));
    for (axis, colour) in axes.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(axis.points.iter().copied(), colour.stroke_width(2)))?
            .label(axis.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2)));
        chart.draw_series(axis.points.iter().map(|it| Circle::new(*it, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

/// A number without the digits that binary fractions add.
fn short(number: &f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The number if its first digit is 1, 2 or 5: the labels of all ticks would lie on each other.
fn rounded(number: &f64) -> String {
    let text = short(number);
    let first = text.trim_start_matches(['0', '.']);
    if first.starts_with(['1', '2', '5']) { text } else { String::new() }
}
