//! A chart: lines in an SVG that any width stretches, with labels that keep their size.
//!
//! The SVG has a square of 1000 by 1000 that is stretched to the room there is, with strokes that are not; dots are strokes
//! of no length with round ends. So one drawing fits a wall and a phone, and is there without a script. Labels are HTML at
//! the same places. The script only adds a rule that follows the pointer or the arrow keys, with the exact values of the
//! [`Stop`] it is at.

use std::fmt::Write as _;

use serde_json::json;

use super::markup::{escape, json};
use super::scale::Tick;

/// Colours that there are; more series than that share them and differ in their dashes.
pub(super) const HUES: usize = 8;

/// A place from the left and from the bottom, each 0 to 1.
pub(super) type Place = (f64, f64);

/// Lines over axes.
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// What a reader must know: what was pooled, thinned, left out.
    pub(super) note: String,
    /// Names of the axes: below and beside it.
    pub(super) axes: (String, String),
    /// Labels below it.
    pub(super) x: Vec<Tick>,
    /// Labels beside it.
    pub(super) y: Vec<Tick>,
    /// The lines.
    pub(super) series: Vec<Series>,
    /// Places along the x axis with values, in ascending order.
    pub(super) stops: Vec<Stop>,
    /// Vertical lines, for instance between repetitions.
    pub(super) marks: Vec<f64>,
}

/// How a series looks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// Its colour; `None` is grey, for what the machine allows and what was asked for.
    pub(super) hue: Option<usize>,
    /// Its dashes: 0 is a whole line, 1 dashed, 2 dotted, 3 both.
    pub(super) dash: usize,
}

/// Something that is drawn in one colour and named in the legend.
pub(super) struct Series {
    /// Its name.
    pub(super) name: String,
    /// How it looks.
    pub(super) look: Look,
    /// Lines through these places.
    pub(super) lines: Vec<Vec<Place>>,
    /// Thin lines, between what is known.
    pub(super) thin: Vec<Vec<Place>>,
    /// Dots.
    pub(super) dots: Vec<Place>,
    /// Rings, for what is there and does not count in full.
    pub(super) rings: Vec<Place>,
}

/// A place along the x axis, and what the series are there.
pub(super) struct Stop {
    /// Where.
    pub(super) x: f64,
    /// What it is called.
    pub(super) label: String,
    /// Index of the series, its height and its exact value.
    pub(super) values: Vec<(usize, f64, String)>,
}

impl Series {
    /// One with nothing in it.
    pub(super) fn new(name: impl Into<String>, hue: Option<usize>, dash: usize) -> Self {
        let look = Look { hue, dash };
        Self {
            name: name.into(),
            look,
            lines: Vec::new(),
            thin: Vec::new(),
            dots: Vec::new(),
            rings: Vec::new(),
        }
    }
}

impl Look {
    /// The classes that give it its colour and its dashes.
    pub(super) fn classes(self) -> String {
        let hue = self.hue.map_or("hn".to_owned(), |hue| format!("h{}", hue % HUES));
        format!("{hue} d{}", self.dash % 4)
    }
}

impl Chart {
    /// The figure.
    pub(super) fn html(&self) -> String {
        let mut html = String::new();
        write!(
            html,
            "<figure class=\"chart\"><figcaption><b>{}</b> {}</figcaption><div class=\"legend\">",
            escape(&self.title),
            escape(&self.note)
        )
        .expect("a string takes all");
        for (at, series) in self.series.iter().enumerate() {
            write!(
                html,
                "<button type=\"button\" class=\"{}\" data-s=\"{at}\" aria-pressed=\"true\">\
                 <svg viewBox=\"0 0 28 8\" aria-hidden=\"true\"><path class=\"l\" d=\"M1 4H27\"/></svg>{}</button>",
                series.look.classes(),
                escape(&series.name)
            )
            .expect("a string takes all");
        }
        write!(
            html,
            "</div><div class=\"plot\"><div class=\"name\">{}</div><div class=\"area\" tabindex=\"0\" role=\"img\" \
             aria-label=\"{}. Arrow keys show the values.\">",
            escape(&self.axes.1),
            escape(&self.title)
        )
        .expect("a string takes all");
        html.push_str(&self.svg());
        for (class, ticks, side) in [("y", &self.y, "bottom"), ("x", &self.x, "left")] {
            for tick in ticks {
                write!(
                    html,
                    "<span class=\"{class}{}\" style=\"{side}:{:.2}%\">{}</span>",
                    if tick.minor { " minor" } else { "" },
                    tick.place * 100.0,
                    escape(&tick.label)
                )
                .expect("a string takes all");
            }
        }
        write!(
            html,
            "</div><div class=\"name under\">{}</div></div><script type=\"application/json\">{}</script></figure>",
            escape(&self.axes.0),
            json(&self.data())
        )
        .expect("a string takes all");
        html
    }

    fn svg(&self) -> String {
        let mut svg = String::from(
            "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><path class=\"grid\" d=\"",
        );
        for tick in &self.y {
            write!(svg, "M0 {:.1}H1000", 1000.0 - tick.place * 1000.0).expect("a string takes all");
        }
        for tick in &self.x {
            write!(svg, "M{:.1} 0V1000", tick.place * 1000.0).expect("a string takes all");
        }
        svg.push_str("\"/>");
        if !self.marks.is_empty() {
            svg.push_str("<path class=\"mark\" d=\"");
            for mark in &self.marks {
                write!(svg, "M{:.1} 0V1000", mark * 1000.0).expect("a string takes all");
            }
            svg.push_str("\"/>");
        }
        // The first series is the most important one and is drawn last, over the others.
        for (at, series) in self.series.iter().enumerate().rev() {
            write!(svg, "<g class=\"{}\" data-s=\"{at}\">", series.look.classes())
                .expect("a string takes all");
            for (class, lines) in [("l", &series.lines), ("t", &series.thin)] {
                for line in lines.iter().filter(|line| line.len() > 1) {
                    write!(svg, "<path class=\"{class}\" d=\"M{}\"/>", places(line))
                        .expect("a string takes all");
                }
            }
            for (class, dots) in [("o", &series.dots), ("r", &series.rings), ("ri", &series.rings)]
            {
                if !dots.is_empty() {
                    let each: Vec<_> =
                        dots.iter().map(|dot| format!("M{}h0", places(&[*dot]))).collect();
                    write!(svg, "<path class=\"{class}\" d=\"{}\"/>", each.concat())
                        .expect("a string takes all");
                }
            }
            svg.push_str("</g>");
        }
        svg.push_str("</svg>");
        svg
    }

    /// What the script needs to say what is where.
    fn data(&self) -> serde_json::Value {
        let series: Vec<_> =
            self.series.iter().map(|series| json!([series.name, series.look.classes()])).collect();
        let stops: Vec<_> = self
            .stops
            .iter()
            .map(|stop| {
                let values: Vec<_> = stop
                    .values
                    .iter()
                    .map(|(series, height, text)| json!([series, round(*height), text]))
                    .collect();
                json!([round(stop.x), stop.label, values])
            })
            .collect();
        json!({ "series": series, "stops": stops })
    }
}

/// To a tenth of a thousandth, which is finer than a pixel.
fn round(place: f64) -> f64 {
    (place * 10_000.0).round() / 10_000.0
}

fn places(line: &[Place]) -> String {
    let each: Vec<_> =
        line.iter().map(|(x, y)| format!("{:.1} {:.1}", x * 1000.0, 1000.0 - y * 1000.0)).collect();
    each.join("L")
}
