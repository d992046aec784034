//! The curve of a result: as points in its JSON, and drawn as SVG.

use super::super::failure::Failure;
use super::scale::{Axis, Span};
use plotters::chart::ChartBuilder;
use plotters::drawing::IntoDrawingArea as _;
use plotters::element::{Circle, PathElement, Text};
use plotters::prelude::SVGBackend;
use plotters::series::LineSeries;
use plotters::style::{Color as _, RGBColor, WHITE};
use serde::Serialize;
use std::path::Path;

/// Pixels.
const SIZE: (u32, u32) = (960, 540);
/// Of a line of the legend, which is below the curves: nothing is behind it.
const LEGEND_LINE: u32 = 22;
/// Radius of a point, in pixels.
const RADIUS: i32 = 4;
/// Told apart by people who see few colours, too.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 90, 160),
    RGBColor(213, 94, 0),
    RGBColor(0, 130, 90),
    RGBColor(170, 60, 130),
    RGBColor(100, 100, 100),
    RGBColor(180, 140, 0),
];

/// A curve, or several.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From below.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
}

/// One curve.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// For the legend.
    pub name: String,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Dots; without them a line.
    pub dots: bool,
    /// What the points should lie on, if anything: a line, too.
    pub fitted: Vec<(f64, f64)>,
}

impl Series {
    /// A line.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, dots: false, fitted: Vec::new() }
    }

    /// Dots.
    pub fn dots(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, dots: true, fitted: Vec::new() }
    }
}

impl Chart {
    /// Draws it into a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let svg = self.svg().map_err(|error| {
            Failure::new(format!("cannot draw the plot: {error}"), "do without --plot; please report it")
        })?;
        std::fs::write(path, svg).map_err(|error| cannot_write(path, &error))
    }

    fn svg(&self) -> Result<String, Box<dyn std::error::Error>> {
        let mut text = String::new();
        let legend = LEGEND_LINE * self.series.len() as u32 + LEGEND_LINE / 2;
        let area = SVGBackend::with_string(&mut text, (SIZE.0, SIZE.1 + legend)).into_drawing_area();
        area.fill(&WHITE)?;
        let (curves, names) = area.split_vertically(SIZE.1);
        let places = || self.series.iter().flat_map(|series| &series.points);
        let mut chart = ChartBuilder::on(&curves)
            .margin(16)
            .margin_right(32)
            .caption(&self.title, ("sans-serif", 20))
            .x_label_area_size(48)
            .y_label_area_size(84)
            .build_cartesian_2d(
                Span::around(&self.x, places().map(|point| point.0)),
                Span::around(&self.y, places().map(|point| point.1)),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x.label.as_str())
            .y_desc(self.y.label.as_str())
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .light_line_style(WHITE)
            .draw()?;
        for (index, (series, colour)) in self.series.iter().zip(COLOURS.iter().cycle()).enumerate() {
            let points = series.points.iter().copied();
            match series.dots {
                true => chart.draw_series(points.map(|point| Circle::new(point, RADIUS, colour.filled())))?,
                false => chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?,
            };
            chart.draw_series(LineSeries::new(series.fitted.iter().copied(), colour.stroke_width(1)))?;
            let (x, y) = (100, LEGEND_LINE as i32 * index as i32);
            names.draw(&PathElement::new([(x, y + 7), (x + 18, y + 7)], colour.stroke_width(3)))?;
            names.draw(&Text::new(series.name.as_str(), (x + 28, y), ("sans-serif", 14)))?;
        }
        area.present()?;
        drop((chart, curves, names, area));
        Ok(text)
    }
}

/// Checks that a file can be written, before it takes minutes to know what is in it.
///
/// # Errors
/// When it cannot.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map(drop)
        .map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot write {}: {error}", path.display()), "choose another file for --plot")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::scale::Scale;

    #[test]
    fn a_chart_has_its_words_and_its_curves() {
        let chart = Chart {
            title: "A title".into(),
            x: Axis::new("clients", Scale::Logarithmic),
            y: Axis::new("µs", Scale::Linear),
            series: vec![
                Series::dots("measured", vec![(1.0, 2.0), (10.0, 3.0), (100.0, 5.0)]),
                Series {
                    fitted: vec![(1.0, 2.0), (100.0, 5.0)],
                    ..Series::dots("also measured", Vec::new())
                },
            ],
        };
        let svg = chart.svg().unwrap();
        for word in ["<svg", "A title", "clients", "µs", "measured", "also measured", "</svg>"] {
            assert!(svg.contains(word), "{word}: {svg}");
        }
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polyline").count() > 1), (3, true));
        let empty = Chart { series: Vec::new(), ..chart };
        assert!(empty.svg().is_ok(), "nothing to show is no reason to fail");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_found_before() {
        let path = Path::new("/nowhere/at/all.svg");
        assert!(check_writable(path).unwrap_err().to_string().contains("--plot"));
    }
}
