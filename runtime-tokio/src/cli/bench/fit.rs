//! How something grows: the exponent of a power.

/// `factor × x ^ exponent`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Power {
    /// 0: it stays; 1: it grows with x; −1: it falls as x grows.
    pub exponent: f64,
    factor: f64,
}

impl Power {
    /// The one that is nearest to the points in least squares of logarithms. `None`: there are not two
    /// points with different positive places and positive values.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let positive = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0);
        let logs: Vec<_> = positive.map(|(x, y)| (x.ln(), y.ln())).collect();
        let count = logs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = logs.iter().map(|point| (point.0 - x).powi(2)).sum();
        let common: f64 = logs.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        (spread > 0.0).then(|| {
            let exponent = common / spread;
            Self { exponent, factor: (y - exponent * x).exp() }
        })
    }

    /// Its value at this place.
    pub fn at(&self, x: f64) -> f64 {
        self.factor * x.powf(self.exponent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_a_power_is_found() {
        for exponent in [-1.0, 0.0, 0.5, 1.0, 2.0] {
            let points: Vec<_> = [1.0, 3.0, 10.0, 1_000.0].map(|x: f64| (x, 7.0 * x.powf(exponent))).to_vec();
            let power = Power::fit(&points).unwrap();
            assert!((power.exponent - exponent).abs() < 1e-9, "{power:?}");
            assert!((power.at(10.0) - points[2].1).abs() < 1e-6, "{power:?}");
        }
    }

    #[test]
    fn what_lies_between_is_halved() {
        let power = Power::fit(&[(1.0, 1.0), (1.0, 4.0), (10.0, 10.0), (10.0, 40.0)]).unwrap();
        assert!((power.exponent - 1.0).abs() < 1e-9 && (power.at(1.0) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn one_place_says_nothing() {
        for points in [&[][..], &[(1.0, 2.0)], &[(2.0, 1.0), (2.0, 3.0)], &[(0.0, 1.0), (5.0, 1.0)]] {
            assert_eq!(Power::fit(points), None, "{points:?}");
        }
    }
}
