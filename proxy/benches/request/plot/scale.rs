//! Mapping of values to positions on an axis.

/// A linear axis from 0 or a logarithmic axis.
pub struct Scale {
    least: f64,
    most: f64,
    is_log: bool,
    /// Positions of the minimum and the maximum.
    places: [f64; 2],
}

impl Scale {
    /// A linear axis from 0 to at least `most`.
    pub fn linear(most: f64, places: [f64; 2]) -> Scale {
        let step = step(most);
        Scale { least: 0.0, most: (most / step).ceil() * step, is_log: false, places }
    }

    /// A logarithmic axis exactly from `least`, which is above 0, to `most`.
    pub fn log(least: f64, most: f64, places: [f64; 2]) -> Scale {
        Scale { least, most: most.max(least * 2.0), is_log: true, places }
    }

    /// A logarithmic axis from the power of ten below `least` to the one above `most`.
    pub fn log_in_decades(least: f64, most: f64, places: [f64; 2]) -> Scale {
        Scale::log(10f64.powf(least.log10().floor()), 10f64.powf(most.log10().ceil()), places)
    }

    /// Position of a value.
    pub fn place(&self, value: f64) -> f64 {
        let share = match self.is_log {
            true => (value / self.least).ln() / (self.most / self.least).ln(),
            false => (value - self.least) / (self.most - self.least),
        };
        self.places[0] + (self.places[1] - self.places[0]) * share
    }

    /// Round values on the axis.
    pub fn ticks(&self) -> Vec<f64> {
        let step = step(self.most);
        let next = |value: &f64| Some(if self.is_log { value * 10.0 } else { value + step });
        let most = self.most * (1.0 + f64::EPSILON * 8.0);
        std::iter::successors(Some(self.least), next).take_while(|value| *value <= most).collect()
    }
}

/// 1, 2 or 5 times a power of ten, so that `most` is four to ten steps.
fn step(most: f64) -> f64 {
    let power = 10f64.powf(most.max(f64::MIN_POSITIVE).log10().floor());
    match most / power {
        times if times > 5.0 => power,
        times if times > 2.0 => power / 2.0,
        _ => power / 5.0,
    }
}

/// A value with as many digits as it needs.
pub fn label(value: f64) -> String {
    match value {
        value if value >= 100.0 || value.fract() == 0.0 => thousands(value),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}
