//! Plots as SVG.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

/// How values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bars side by side in each group.
    Bars,
    /// A line for each series.
    Lines,
}

/// For each of the `series` a value at each of the `groups`.
#[derive(Debug)]
pub struct Plot<'a> {
    /// How they are drawn.
    pub kind: Kind,
    /// Above it.
    pub title: &'a str,
    /// What the values are.
    pub unit: &'a str,
    /// Along the x axis.
    pub groups: &'a [String],
    /// The name of each series and its values.
    pub series: &'a [(String, Vec<f64>)],
}

const SIZE: (u32, u32) = (1100, 480);
const FONT: &str = "sans-serif";

impl Plot<'_> {
    /// Writes it to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let values = self.series.iter().flat_map(|(_, values)| values);
        let top = values.fold(0.0, |top: f64, value| top.max(*value)) * 1.1;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, (FONT, 20))
            .margin(12)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .build_cartesian_2d(-0.5..float(self.groups.len()) - 0.5, 0.0..top)?;
        let label = |x: &f64| {
            let group = (0..)
                .zip(self.groups)
                .find(|(group, _)| (float(*group) - x).abs() < 0.01);
            group.map_or(String::new(), |(_, name)| name.clone())
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(2 * self.groups.len() + 1)
            .x_label_formatter(&label)
            .y_desc(self.unit)
            .label_style((FONT, 13))
            .draw()?;
        let width = 0.8 / float(self.series.len());
        for (number, (name, values)) in self.series.iter().enumerate() {
            let color = Palette99::pick(number).to_rgba();
            let points = (0..).map(float).zip(values.iter().copied());
            let drawn = match self.kind {
                Kind::Bars => chart.draw_series(points.map(|(x, value)| {
                    let left = x - 0.4 + width * float(number);
                    Rectangle::new([(left, 0.0), (left + width, value)], color.filled())
                }))?,
                Kind::Lines => chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?,
            };
            drawn.label(name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 10, y + 5)], color.filled())
            });
        }
        chart
            .configure_series_labels()
            .position(match self.kind {
                // Above the lowest bars, and below all lines.
                Kind::Bars => SeriesLabelPosition::UpperMiddle,
                Kind::Lines => SeriesLabelPosition::LowerMiddle,
            })
            .background_style(WHITE.mix(0.8))
            .label_font((FONT, 13))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn float(number: usize) -> f64 {
    number as f64
}
