//! From values to places on an axis, 0 to 1, and the values worth a label.

use crate::words;

/// Room right of the last nine for the largest value, in nines.
const MAX_ROOM: f64 = 0.35;

/// How values are laid out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scale {
    /// From 0 to this.
    Linear(f64),
    /// By their logarithm, from and to a value above 0.
    Log(f64, f64),
    /// Quantiles by how many values are beyond: 90 % and 99 % are as far apart as 99 % and 99.9 %. Up to so many nines.
    Nines(f64),
}

/// A place on an axis with a label.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// 0 to 1.
    pub(super) place: f64,
    /// What stands there.
    pub(super) label: String,
    /// Whether it may be left out where there is little room.
    pub(super) minor: bool,
}

impl Scale {
    /// From 0 to a little above the largest of these.
    pub(super) fn linear(values: impl Iterator<Item = f64>) -> Self {
        let largest = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self::Linear(if largest > 0.0 { largest * 1.08 } else { 1.0 })
    }

    /// Around all of these that are above 0, from and to 1, 2 or 5 of a power of ten.
    pub(super) fn log(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        if high == 0.0 {
            return Self::Log(1.0, 10.0);
        }
        let (low, high) = (round_down(low), round_down(high * 0.999_999));
        Self::Log(low, next(high))
    }

    /// As far as `count` values tell, to at most six nines.
    #[expect(clippy::cast_precision_loss, reason = "only the magnitude counts")]
    pub(super) fn nines(count: u64) -> Self {
        Self::Nines((count.max(100) as f64).log10().min(6.0))
    }

    /// Where a value is, 0 to 1; what is outside is put at the end.
    pub(super) fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(max) => value / max,
            Self::Log(low, high) => (value.max(low) / low).ln() / (high / low).ln(),
            Self::Nines(nines) if value < 1.0 => -(1.0 - value).log10() / (nines + MAX_ROOM),
            Self::Nines(_) => 1.0,
        };
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// The labels, in ascending order.
    pub(super) fn ticks(self, words: impl Fn(f64) -> String) -> Vec<Tick> {
        let tick =
            |value: f64, minor| Tick { place: self.place(value), label: words(value), minor };
        match self {
            Self::Linear(max) => {
                let step = [1.0, 2.0, 2.5, 5.0, 10.0]
                    .map(|digit| digit * 10_f64.powf((max / 5.0).log10().floor()))
                    .into_iter()
                    .find(|step| max / step <= 5.0)
                    .unwrap_or(max);
                (0..=5_u8)
                    .map(|number| f64::from(number) * step)
                    .filter(|value| *value <= max)
                    .map(|value| tick(value, false))
                    .collect()
            }
            Self::Log(low, high) => {
                let decades = (high / low).log10();
                let mut ticks = Vec::new();
                let mut value = low;
                while value <= high * 1.001 && ticks.len() < 60 {
                    let power = is_power(value);
                    if power || decades <= 2.7 {
                        ticks.push(tick(value, !power && decades > 1.4));
                    }
                    value = next(value);
                }
                ticks
            }
            Self::Nines(nines) => {
                let mut ticks: Vec<_> = quantiles()
                    .into_iter()
                    .filter(|(quantile, ..)| -(1.0 - quantile).log10() <= nines + 0.001)
                    .map(|(quantile, label, minor)| Tick {
                        place: self.place(quantile),
                        label: label.to_owned(),
                        minor,
                    })
                    .collect();
                ticks.push(Tick { place: 1.0, label: "max".to_owned(), minor: false });
                ticks
            }
        }
    }
}

/// The quantiles with a label of their own.
fn quantiles() -> [(f64, &'static str, bool); 8] {
    [
        (0.0, "min", true),
        (0.5, "50 %", true),
        (0.9, "90 %", false),
        (0.99, "99 %", false),
        (0.999, "99.9 %", false),
        (0.9999, "99.99 %", true),
        (0.99999, "99.999 %", true),
        (0.999_999, "99.9999 %", true),
    ]
}

/// A latency on an axis: "100 µs".
pub(super) fn latency_tick(value: f64) -> String {
    short(&words::nanoseconds(value))
}

/// A number of things on an axis: "1.5 M".
pub(super) fn count_tick(value: f64) -> String {
    short(&words::many(value))
}

/// Without the zeros behind the point that a round number does not need.
fn short(text: &str) -> String {
    let end = text.find(|letter: char| letter != '.' && !letter.is_ascii_digit());
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number = if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    };
    format!("{number}{unit}")
}

/// The largest 1, 2 or 5 of a power of ten that is not above `value`.
fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let digit = value / power * 1.000_001;
    power
        * if digit >= 5.0 {
            5.0
        } else if digit >= 2.0 {
            2.0
        } else {
            1.0
        }
}

/// The next of 1, 2, 5, 10.
fn next(value: f64) -> f64 {
    let power = 10_f64.powf((value * 1.000_001).log10().floor());
    let digit = value / power;
    power
        * if digit < 1.5 {
            2.0
        } else if digit < 3.0 {
            5.0
        } else {
            10.0
        }
}

fn is_power(value: f64) -> bool {
    let log = value.log10();
    (log - log.round()).abs() < 1e-6
}
