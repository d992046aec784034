//! Points and their lines. The client library's escaping has holes (a newline ends a line, an empty tag
//! or a number that is none passes), so values are made harmless here first.

use influxdb2::models::{DataPoint, FieldValue, WriteDataPoint as _};

/// Longest tag value, in bytes. Topics and names are shorter.
const MAX_TAG: usize = 1_024;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count, an offset, a size; also 0 or 1 for no or yes.
    Integer(i64),
    /// A time.
    Real(f64),
}

/// What was measured at one moment. Tags with empty values and fields that are no numbers do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The measurement.
    pub measurement: &'static str,
    /// What tells its series apart.
    pub tags: Vec<(&'static str, String)>,
    /// What was measured.
    pub fields: Vec<(&'static str, Value)>,
    /// When, in nanoseconds since 1970.
    pub at: i64,
}

impl Point {
    /// Adds the point's line. A point without fields has none.
    pub fn write_to(&self, lines: &mut Vec<u8>) {
        let mut builder = DataPoint::builder(self.measurement).timestamp(self.at);
        for (name, value) in &self.tags {
            let value = harmless(value);
            if !value.is_empty() {
                builder = builder.tag(*name, value);
            }
        }
        for (name, value) in &self.fields {
            builder = match value {
                Value::Integer(number) => builder.field(*name, *number),
                Value::Real(number) if number.is_finite() => builder.field(*name, FieldValue::F64(*number)),
                Value::Real(_) => builder,
            };
        }
        if let Ok(point) = builder.build() {
            point.write_data_point_to(lines).expect("memory takes everything");
        }
    }
}

/// A tag value without what could end it early: control characters and backslashes become `_`, and it
/// is cut at the longest length.
fn harmless(value: &str) -> String {
    let mut end = value.len().min(MAX_TAG);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let replace = |c: char| match c {
        '\\' => '_',
        c if c.is_control() || c == '\u{2028}' || c == '\u{2029}' => '_',
        c => c,
    };
    value[..end].chars().map(replace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use influxdb_line_protocol::{FieldValue as Parsed, parse_lines};
    use proptest::prelude::*;

    fn lines(points: &[Point]) -> String {
        let mut lines = Vec::new();
        points.iter().for_each(|point| point.write_to(&mut lines));
        String::from_utf8(lines).unwrap()
    }

    fn point(tag: &str, value: Value) -> Point {
        let fields = vec![("n_total", Value::Integer(7)), ("x_ms", value)];
        Point {
            measurement: "steadfast_test",
            tags: vec![("topic", tag.into())],
            fields,
            at: 1_700_000_000_000_000_001,
        }
    }

    #[test]
    fn a_point_is_a_line() {
        let text = lines(&[point("orders.eu", Value::Real(1.5))]);
        assert_eq!(text, "steadfast_test,topic=orders.eu n_total=7i,x_ms=1.5 1700000000000000001\n");
    }

    #[test]
    fn what_is_no_value_is_left_out() {
        let text = lines(&[point("", Value::Real(f64::NAN)), point("a", Value::Real(f64::INFINITY))]);
        assert_eq!(
            text,
            "steadfast_test n_total=7i 1700000000000000001\nsteadfast_test,topic=a n_total=7i 1700000000000000001\n"
        );
        let mut empty = point("a", Value::Real(f64::NAN));
        empty.fields.remove(0);
        assert_eq!(lines(&[empty]), "");
    }

    fn hostile() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            prop::sample::select(vec![
                '\n', '\r', '\\', ',', '=', ' ', '"', '\t', '\0', '#', '\u{2028}', 'é', '🦀'
            ]),
            any::<char>(),
            prop::char::range('a', 'z'),
        ];
        prop::collection::vec(character, 0..40).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        /// An independent parser reads every point back as it was meant, whatever is in its tags.
        #[test]
        fn an_independent_parser_reads_every_line(
            tags in prop::collection::vec(hostile(), 1..5),
            real in any::<f64>(),
            count in any::<i64>(),
        ) {
            let mut points: Vec<_> = tags.iter().map(|tag| point(tag, Value::Real(real))).collect();
            points.iter_mut().for_each(|point| point.fields[0].1 = Value::Integer(count));
            let text = lines(&points);
            let parsed: Result<Vec<_>, _> = parse_lines(&text).collect();
            let parsed = parsed.map_err(|error| TestCaseError::fail(format!("{error}: {text:?}")))?;
            prop_assert_eq!(parsed.len(), tags.len());
            for (line, tag) in parsed.iter().zip(&tags) {
                prop_assert_eq!(line.series.measurement.as_str(), "steadfast_test");
                let expected = Some(harmless(tag)).filter(|tag| !tag.is_empty());
                prop_assert_eq!(line.tag_value("topic").map(|value| value.to_string()), expected);
                prop_assert_eq!(line.field_value("n_total"), Some(&Parsed::I64(count)));
                let expected = real.is_finite().then_some(Parsed::F64(real));
                prop_assert_eq!(line.field_value("x_ms"), expected.as_ref());
                prop_assert_eq!(line.timestamp, Some(1_700_000_000_000_000_001));
            }
        }
    }
}
