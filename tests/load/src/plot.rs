//! Pictures: a curve, or the brokers side by side, as SVG.

use std::path::Path;

use anyhow::anyhow;
use plotters::prelude::{
    ChartBuilder, Circle, Color, IntoDrawingArea, IntoLogRange, LineSeries, Rectangle, SVGBackend,
    SeriesLabelPosition, Text,
};
use plotters::style::{BLACK, IntoFont, RGBColor, WHITE};

use crate::growth::Curve;

const SIZE: (u32, u32) = (760, 420);
const FONT: &str = "sans-serif";
/// One colour per broker; distinguishable in grey too.
const COLOURS: [RGBColor; 4] =
    [RGBColor(27, 94, 160), RGBColor(214, 118, 32), RGBColor(120, 120, 120), RGBColor(60, 150, 90)];

/// Bars of one broker.
#[derive(Debug)]
pub struct Series {
    /// Its name.
    pub broker: String,
    /// A value for each group, if there is one.
    pub values: Vec<Option<f64>>,
}

/// Draws a curve with a logarithmic x axis; y begins at 0.
pub fn curve(path: &Path, curve: &Curve) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) else { return Ok(()) };
    let top = curve.points.iter().map(|point| point.1).fold(0.0, f64::max).max(f64::MIN_POSITIVE) * 1.2;
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&curve.title, (FONT, 17))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d((first.0 * 0.8..last.0 * 1.25).log_scale(), 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc(&curve.x)
            .y_desc(curve.figure.label())
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(LineSeries::new(curve.points.iter().copied(), COLOURS[0].stroke_width(2)))?;
        chart.draw_series(curve.points.iter().map(|point| Circle::new(*point, 4, COLOURS[0].filled())))?;
        let value = |point: &(f64, f64)| {
            Text::new(short(point.1), (point.0, point.1 + top * 0.05), (FONT, 13).into_font().color(&BLACK))
        };
        chart.draw_series(curve.points.iter().map(value))?;
        Ok(area.present()?)
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// Draws groups of bars, one bar per broker, on a logarithmic axis: the best and the worst are far apart.
pub fn bars(
    path: &Path,
    title: &str,
    unit: &str,
    groups: &[String],
    series: &[Series],
) -> anyhow::Result<()> {
    let values = || series.iter().flat_map(|series| series.values.iter().flatten().copied());
    let (bottom, top) = (values().fold(f64::MAX, f64::min) / 2.0, values().fold(0.0, f64::max) * 8.0);
    if groups.is_empty() || top <= 0.0 {
        return Ok(());
    }
    let width = 120 + 90 * u32::try_from(groups.len())?;
    let area = SVGBackend::new(path, (width.max(SIZE.0), SIZE.1)).into_drawing_area();
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, (FONT, 17))
            .margin(14)
            .x_label_area_size(42)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..groups.len() as f64, (bottom..top).log_scale())?;
        let name = |x: &f64| {
            groups.get(x.floor() as usize).filter(|_| x.fract() == 0.0).cloned().unwrap_or_default()
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(groups.len() + 1)
            .x_label_formatter(&name)
            .x_label_offset(30)
            .y_desc(unit)
            .light_line_style(WHITE)
            .draw()?;
        let bar = 0.8 / series.len() as f64;
        for (place, (series, colour)) in series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let bars = series.values.iter().enumerate().filter_map(|(group, value)| {
                let left = group as f64 + 0.1 + place as f64 * bar;
                let corners = [(left, bottom), (left + bar * 0.95, (*value)?)];
                Some(Rectangle::new(corners, colour.filled()))
            });
            let colour = *colour;
            chart
                .draw_series(bars)?
                .label(series.broker.clone())
                .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled()));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        Ok(area.present()?)
    };
    draw().map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// Three digits are enough beside a point.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}
