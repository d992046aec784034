//! What is emitted: every measurement with its tags and fields, and how each field gets its value. The
//! exporter sends exactly what stands here, `docs/metrics.md` is written from it, and the dashboard is
//! checked against it.

use super::point::{Point, Value};

/// One field of a measurement about `S`.
pub struct Field<S> {
    /// Its name. A name that ends in `_total` only grows while a process lives.
    pub name: &'static str,
    /// The unit of its values; empty for plain numbers.
    pub unit: &'static str,
    /// What it says.
    pub about: &'static str,
    /// Its value; `None`: the point has no such field.
    pub value: fn(&S) -> Option<Value>,
}

/// One measurement about `S`.
pub struct Measurement<S: 'static> {
    /// Its name.
    pub name: &'static str,
    /// What it is about, and who sends it when.
    pub about: &'static str,
    /// Tags besides `cluster` and `node`, with what they say.
    pub tags: &'static [(&'static str, &'static str)],
    /// Its fields.
    pub fields: &'static [Field<S>],
}

/// Who measures: the tags of every point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The cluster's name.
    pub cluster: String,
    /// The broker's name, or a discovery replica's address.
    pub node: String,
}

/// A measurement without its source's type.
#[derive(Clone, Debug)]
pub struct Description {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Tags besides `cluster` and `node`.
    pub tags: &'static [(&'static str, &'static str)],
    /// Name, unit and meaning of each field.
    pub fields: Vec<(&'static str, &'static str, &'static str)>,
}

impl<S> Measurement<S> {
    /// The point of this source at a moment; `tags` in the order of [`Measurement::tags`].
    ///
    /// # Panics
    /// When the number of tags is another.
    pub fn point<const N: usize>(&self, origin: &Origin, tags: [&str; N], source: &S, at: i64) -> Point {
        assert_eq!(N, self.tags.len(), "{} has other tags", self.name);
        let common = [("cluster", origin.cluster.clone()), ("node", origin.node.clone())];
        let own = self.tags.iter().zip(tags).map(|((name, _), value)| (*name, value.to_owned()));
        let fields = self.fields.iter().filter_map(|field| Some((field.name, (field.value)(source)?)));
        Point {
            measurement: self.name,
            tags: common.into_iter().chain(own).collect(),
            fields: fields.collect(),
            at,
        }
    }

    /// The measurement without its source's type.
    pub fn describe(&self) -> Description {
        let fields = self.fields.iter().map(|field| (field.name, field.unit, field.about));
        Description { name: self.name, about: self.about, tags: self.tags, fields: fields.collect() }
    }
}

/// `name unit meaning = value` for each field.
macro_rules! fields {
    ($($name:literal, $unit:literal, $about:literal => $value:expr;)*) => {
        &[$($crate::metrics::schema::Field { name: $name, unit: $unit, about: $about, value: $value }),*]
    };
}
pub(super) use fields;

/// A count, size or offset. One too large for the server is the largest that it takes.
#[allow(clippy::unnecessary_wraps, reason = "fields may be absent; these are not")]
pub(super) fn count(number: impl TryInto<i64>) -> Option<Value> {
    Some(Value::Integer(number.try_into().unwrap_or(i64::MAX)))
}

/// Yes or no.
pub(super) fn flag(holds: bool) -> Option<Value> {
    count(i64::from(holds))
}

/// A time, in milliseconds.
#[allow(clippy::unnecessary_wraps, reason = "fields may be absent; these are not")]
pub(super) fn milliseconds(time: std::time::Duration) -> Option<Value> {
    Some(Value::Real(time.as_secs_f64() * 1e3))
}
