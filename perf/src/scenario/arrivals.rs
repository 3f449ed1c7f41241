//! Values of a scenario that are a word with numbers: arrivals, sizes, keys, payload.
//!
//! One grammar: `word` or `word:number,number`, a range as `from..to`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::quantity::{
    bytes_exact, count_exact, duration_exact, parse_bytes, parse_count, parse_duration,
};

/// When records arrive. Rates are records a second of all producers together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// `closed:4`: each producer keeps that many arrivals in flight and sends the next one when one is acknowledged.
    Closed {
        /// Arrivals in flight of each producer.
        in_flight: u32,
    },
    /// `constant:100k`: evenly spaced.
    Constant {
        /// Records a second.
        rate: f64,
    },
    /// `poisson:100k`: independent of each other, as users are.
    Poisson {
        /// Records a second on average.
        rate: f64,
    },
    /// `bursts:50k,10k,1s`: evenly spaced, and a burst of that many at once in every period.
    Bursts {
        /// Records a second between the bursts.
        rate: f64,
        /// Records of a burst.
        burst: f64,
        /// From one burst to the next.
        period: Duration,
    },
    /// `ramp:10k..200k`: evenly spaced at a rate that grows (or falls) steadily over the measurement.
    Ramp {
        /// Records a second at the beginning.
        from: f64,
        /// Records a second at the end.
        to: f64,
    },
    /// `search:10k,1.5,5ms`: evenly spaced in steps, each so many times as fast as the one before, until the 99th
    /// percentile exceeds the limit or the server does not keep up.
    Search {
        /// Records a second of the first step.
        from: f64,
        /// From one step to the next.
        factor: f64,
        /// Limit of the 99th percentile.
        p99: Duration,
    },
}

/// How large values are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sizes {
    /// `1KiB`.
    Fixed(u64),
    /// `uniform:100..2000`: both ends can occur.
    Uniform {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// `lognormal:300,1.0,64KiB`: median, sigma of the logarithm, and the largest.
    LogNormal {
        /// The median.
        median: u64,
        /// Standard deviation of the natural logarithm.
        sigma: f64,
        /// Larger ones are made so small.
        max: u64,
    },
}

/// Which keys records have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    /// None.
    None,
    /// `uniform:1M`: each of so many equally often.
    Uniform {
        /// Different keys.
        count: u64,
    },
    /// `zipf:1M,1.1`: the k-th most frequent in proportion to `k^-s`.
    Zipf {
        /// Different keys.
        count: u64,
        /// The exponent.
        s: f64,
    },
}

/// What is in the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Payload {
    /// Random bytes.
    Incompressible,
    /// `compressible:4`: random bytes and repetitions, about four times as long as what they say.
    Compressible {
        /// Length over information.
        ratio: f64,
    },
}

/// The word and its numbers.
fn words(text: &str) -> (&str, Vec<&str>) {
    let (word, rest) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
    let arguments = rest.split(',').map(str::trim).filter(|part| !part.is_empty());
    (word.trim(), arguments.collect())
}

fn range(text: &str) -> Result<(&str, &str), String> {
    text.split_once("..").ok_or_else(|| format!("{text:?} is no range: write from..to"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be whole")]
fn whole(text: &str) -> Result<u64, String> {
    let count = parse_count(text)?;
    if count.fract() != 0.0 || count > 9e15 {
        return Err(format!("{text:?} is no whole number"));
    }
    Ok(count as u64)
}

impl FromStr for Arrivals {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, arguments) = words(text);
        match (word, arguments.as_slice()) {
            ("closed", [in_flight]) => {
                let in_flight = u32::try_from(whole(in_flight)?).unwrap_or(u32::MAX);
                Ok(Self::Closed { in_flight })
            }
            ("constant", [rate]) => Ok(Self::Constant { rate: parse_count(rate)? }),
            ("poisson", [rate]) => Ok(Self::Poisson { rate: parse_count(rate)? }),
            ("bursts", [rate, burst, period]) => Ok(Self::Bursts {
                rate: parse_count(rate)?,
                burst: parse_count(burst)?,
                period: parse_duration(period)?,
            }),
            ("ramp", [rates]) => {
                let (from, to) = range(rates)?;
                Ok(Self::Ramp { from: parse_count(from)?, to: parse_count(to)? })
            }
            ("search", [from, factor, p99]) => Ok(Self::Search {
                from: parse_count(from)?,
                factor: parse_count(factor)?,
                p99: parse_duration(p99)?,
            }),
            _ => Err(format!(
                "{text:?} are no arrivals: write closed:IN_FLIGHT, constant:RATE, poisson:RATE, \
                 bursts:RATE,BURST,PERIOD, ramp:FROM..TO or search:FROM,FACTOR,P99"
            )),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = count_exact;
        match *self {
            Self::Closed { in_flight } => write!(f, "closed:{in_flight}"),
            Self::Constant { rate } => write!(f, "constant:{}", n(rate)),
            Self::Poisson { rate } => write!(f, "poisson:{}", n(rate)),
            Self::Bursts { rate, burst, period } => {
                write!(f, "bursts:{},{},{}", n(rate), n(burst), duration_exact(period))
            }
            Self::Ramp { from, to } => write!(f, "ramp:{}..{}", n(from), n(to)),
            Self::Search { from, factor, p99 } => {
                write!(f, "search:{},{},{}", n(from), n(factor), duration_exact(p99))
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, arguments) = words(text);
        match (word, arguments.as_slice()) {
            ("uniform", [sizes]) => {
                let (min, max) = range(sizes)?;
                Ok(Self::Uniform { min: parse_bytes(min)?, max: parse_bytes(max)? })
            }
            ("lognormal", [median, sigma, max]) => Ok(Self::LogNormal {
                median: parse_bytes(median)?,
                sigma: parse_count(sigma)?,
                max: parse_bytes(max)?,
            }),
            (size, []) => parse_bytes(size).map(Self::Fixed),
            _ => Err(format!(
                "{text:?} is no size: write SIZE, uniform:MIN..MAX or lognormal:MEDIAN,SIGMA,MAX"
            )),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = bytes_exact;
        match *self {
            Self::Fixed(size) => f.write_str(&b(size)),
            Self::Uniform { min, max } => write!(f, "uniform:{}..{}", b(min), b(max)),
            Self::LogNormal { median, sigma, max } => {
                write!(f, "lognormal:{},{sigma},{}", b(median), b(max))
            }
        }
    }
}

impl Sizes {
    /// The smallest that can occur.
    #[must_use]
    pub fn min(self) -> u64 {
        match self {
            Self::Fixed(size) => size,
            Self::Uniform { min, .. } => min,
            Self::LogNormal { .. } => 1,
        }
    }

    /// The largest that can occur.
    #[must_use]
    pub fn max(self) -> u64 {
        match self {
            Self::Fixed(size) => size,
            Self::Uniform { max, .. } | Self::LogNormal { max, .. } => max,
        }
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, arguments) = words(text);
        match (word, arguments.as_slice()) {
            ("none", []) => Ok(Self::None),
            ("uniform", [count]) => Ok(Self::Uniform { count: whole(count)? }),
            ("zipf", [count, s]) => Ok(Self::Zipf { count: whole(count)?, s: parse_count(s)? }),
            _ => Err(format!("{text:?} are no keys: write none, uniform:COUNT or zipf:COUNT,S")),
        }
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::None => f.write_str("none"),
            Self::Uniform { count } => write!(f, "uniform:{count}"),
            Self::Zipf { count, s } => write!(f, "zipf:{count},{s}"),
        }
    }
}

impl FromStr for Payload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, arguments) = words(text);
        match (word, arguments.as_slice()) {
            ("incompressible", []) => Ok(Self::Incompressible),
            ("compressible", [ratio]) => Ok(Self::Compressible { ratio: parse_count(ratio)? }),
            _ => Err(format!("{text:?} is no payload: write incompressible or compressible:RATIO")),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Incompressible => f.write_str("incompressible"),
            Self::Compressible { ratio } => write!(f, "compressible:{ratio}"),
        }
    }
}
