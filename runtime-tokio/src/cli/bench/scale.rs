//! Axes of a chart: what is where, and where the ticks are.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use serde::Serialize;
use std::ops::Range;

/// Fewest powers of ten that get no ticks between them.
const MANY_DECADES: f64 = 2.5;

/// What an axis counts.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    /// With its unit.
    pub label: String,
    /// How it is divided.
    pub scale: Scale,
}

impl Axis {
    /// An axis.
    pub fn new(label: impl Into<String>, scale: Scale) -> Self {
        Self { label: label.into(), scale }
    }
}

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// From zero, equal steps.
    Linear,
    /// The same, in whole steps.
    Count,
    /// Equal factors.
    Logarithmic,
    /// Per cent: each further nine takes as much room as the one before.
    Percentile,
}

impl Scale {
    /// Equal distances there are equal distances on the paper.
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear | Self::Count => value,
            Self::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
            Self::Percentile => -(1.0 - value / 100.0).max(1e-12).log10(),
        }
    }
}

/// An axis with its ends.
#[derive(Clone, Debug)]
pub struct Span {
    scale: Scale,
    range: Range<f64>,
}

impl Span {
    /// An axis that has room for all these values.
    pub fn around(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let scale = axis.scale;
        let shown = values.filter(|value| scale != Scale::Logarithmic || *value > 0.0);
        let (least, most) =
            shown.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        let range = match scale {
            _ if least > most => 1.0..10.0,
            Scale::Linear | Scale::Count => 0.0..(most * 1.1).max(f64::MIN_POSITIVE),
            Scale::Logarithmic => least * 0.8..most * 1.25,
            Scale::Percentile => 0.0..most.max(90.0),
        };
        Self { scale, range }
    }

    fn ticks(&self, most: usize) -> Vec<f64> {
        let Range { start, end } = self.range;
        let ticks: Vec<f64> = match self.scale {
            Scale::Linear | Scale::Count => {
                let step = round_step((end - start) / most.clamp(2, 8) as f64);
                let step = if self.scale == Scale::Count { step.max(1.0) } else { step };
                let steps = (end / step) as u64;
                (0..=steps).map(|number| number as f64 * step).collect()
            }
            Scale::Logarithmic => {
                let decades = start.log10().floor() as i32..=end.log10().ceil() as i32;
                let between: &[f64] =
                    if (end / start).log10() < MANY_DECADES { &[1.0, 2.0, 5.0] } else { &[1.0] };
                decades.flat_map(|power| between.iter().map(move |n| n * 10_f64.powi(power))).collect()
            }
            Scale::Percentile => vec![0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999, 99.9999],
        };
        ticks.into_iter().filter(|tick| (start..=end).contains(tick)).collect()
    }
}

/// The next longer step of 1, 2 or 5 times a power of ten.
fn round_step(step: f64) -> f64 {
    let decade = 10_f64.powf(step.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    factors.map(|factor| factor * decade).into_iter().find(|round| *round >= step).unwrap_or(step)
}

impl Ranged for Span {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (low, high): (i32, i32)) -> i32 {
        let (start, end) = (self.scale.place(self.range.start), self.scale.place(self.range.end));
        let share = (self.scale.place(*value) - start) / (end - start);
        low + (share * f64::from(high - low)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        self.ticks(hint.max_num_points())
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Span {
    fn format_ext(&self, value: &f64) -> String {
        match self.scale {
            Scale::Percentile => format!("{} %", trimmed(*value)),
            _ => short(*value),
        }
    }
}

/// A number in few letters.
pub fn short(value: f64) -> String {
    let units = [(1e9, " G"), (1e6, " M"), (1e3, " k")];
    let unit = units.into_iter().find(|(unit, _)| value.abs() >= *unit);
    let (unit, name) = unit.unwrap_or((1.0, ""));
    format!("{}{name}", trimmed(value / unit))
}

/// Without zeros at the end, to four digits.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(scale: Scale, values: &[f64]) -> Span {
        Span::around(&Axis::new("", scale), values.iter().copied())
    }

    #[test]
    fn each_scale_has_its_ticks() {
        assert_eq!(span(Scale::Linear, &[3.0, 10.0]).ticks(6), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(span(Scale::Count, &[1.0, 3.0]).ticks(6), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(span(Scale::Logarithmic, &[1.0, 1_000.0]).ticks(6), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!(span(Scale::Logarithmic, &[3.0, 30.0]).ticks(6), [5.0, 10.0, 20.0]);
        assert_eq!(span(Scale::Percentile, &[10.0, 99.95]).ticks(6), [0.0, 50.0, 90.0, 99.0, 99.9]);
        assert!(!span(Scale::Linear, &[]).ticks(6).is_empty(), "no values");
    }

    #[test]
    fn equal_factors_and_nines_are_equally_far_apart() {
        let places = |scale, values: &[f64], at: [f64; 3]| {
            let span = span(scale, values);
            at.map(|value| span.map(&value, (0, 10_000)))
        };
        for [one, two, three] in [
            places(Scale::Linear, &[0.0, 10.0], [2.0, 4.0, 6.0]),
            places(Scale::Logarithmic, &[1.0, 1_000.0], [1.0, 10.0, 100.0]),
            places(Scale::Percentile, &[99.99], [90.0, 99.0, 99.9]),
        ] {
            assert!(((two - one) - (three - two)).abs() <= 1 && two > one, "{one} {two} {three}");
        }
    }

    #[test]
    fn numbers_are_short() {
        let cases = [(0.0, "0"), (0.25, "0.25"), (150.0, "150"), (1_500_000.0, "1.5 M"), (2e9, "2 G")];
        cases.iter().for_each(|(value, text)| assert_eq!(short(*value), *text));
        assert_eq!(span(Scale::Percentile, &[99.0]).format_ext(&99.9), "99.9 %");
    }
}
