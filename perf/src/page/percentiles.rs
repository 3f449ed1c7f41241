//! Latencies by how rare they are: log axes both ways, with what the machine takes by itself beside them.

use super::chart::{Chart, Series, Stop};
use super::group::Group;
use super::letter;
use super::scale::{Scale, latency_tick};
use crate::result::{CeilingName, Latency, ResultFile};
use crate::words;

/// Points of a line: closer than they are, nobody tells them apart.
const POINTS: u32 = 160;

/// Quantiles that the rule stops at.
const STOPS: [(f64, &str); 14] = [
    (0.0, "min"),
    (0.1, "10 %"),
    (0.25, "25 %"),
    (0.5, "50 %"),
    (0.75, "75 %"),
    (0.9, "90 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
    (0.995, "99.5 %"),
    (0.999, "99.9 %"),
    (0.9995, "99.95 %"),
    (0.9999, "99.99 %"),
    (0.99999, "99.999 %"),
    (1.0, "max"),
];

/// A distribution to draw.
struct Line {
    name: String,
    hue: Option<usize>,
    dash: usize,
    latency: Latency,
}

/// The main latency of each of these scenarios. One colour for each, one kind of dashes for each file.
pub(super) fn overview(groups: &[&Group], files: &[ResultFile], title: String) -> Option<String> {
    let mut scenarios: Vec<&str> = groups.iter().map(|group| group.scenario).collect();
    scenarios.dedup();
    let lines = groups.iter().filter_map(|group| {
        let name = group.main_latency()?;
        let hue = scenarios.iter().position(|scenario| *scenario == group.scenario);
        Some(Line {
            name: format!("{}{} {name}", letter(group.file, files), group.scenario),
            hue,
            dash: group.file,
            latency: group.pooled(name),
        })
    });
    chart(lines.chain(ceilings(files).map(|(_, line)| line)).collect(), title)
}

/// Every latency of one scenario. One colour for each file, one kind of dashes for each latency.
pub(super) fn scenario(groups: &[&Group], files: &[ResultFile]) -> Option<String> {
    let lines = groups.iter().flat_map(|group| {
        group.latencies().into_iter().enumerate().map(|(at, name)| Line {
            name: format!("{}{name}", letter(group.file, files)),
            hue: Some(group.file),
            dash: at,
            latency: group.pooled(name),
        })
    });
    let shared = |ceiling: CeilingName| {
        let mut shares = groups.iter().flat_map(|group| &group.runs).flat_map(|run| &run.shares);
        shares.any(|share| share.ceiling == ceiling)
    };
    let beside = ceilings(files).filter(|(name, _)| shared(*name)).map(|(_, line)| line);
    chart(lines.chain(beside).collect(), "Latency by percentile".to_owned())
}

/// How long the machine takes by itself, by the first file.
fn ceilings(files: &[ResultFile]) -> impl Iterator<Item = (CeilingName, Line)> {
    let all = files.first().into_iter().flat_map(|file| &file.ceilings);
    all.filter_map(|ceiling| {
        let latency = ceiling.latency.clone().filter(|latency| latency.count > 0)?;
        let dash = if ceiling.name == CeilingName::DiskSync { 2 } else { 3 };
        let name = format!("{} alone", words::ceiling(ceiling.name));
        Some((ceiling.name, Line { name, hue: None, dash, latency }))
    })
}

#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
fn chart(lines: Vec<Line>, title: String) -> Option<String> {
    let lines: Vec<_> = lines.into_iter().filter(|line| line.latency.count > 0).collect();
    let largest = lines.iter().filter(|line| line.hue.is_some()).map(|line| line.latency.count);
    let x = Scale::nines(largest.max()?);
    let ends = lines.iter().flat_map(|line| [line.latency.at(0.0), line.latency.max]);
    let y = Scale::log(ends.map(|value| value as f64));
    let height = |value: u64| y.place(value as f64);
    let series = lines.iter().map(|line| {
        let mut series = Series::new(&*line.name, line.hue, line.dash);
        // Beyond the last value that has another one behind it there is only the largest.
        let nines = (line.latency.count as f64).log10();
        let points = (0..=POINTS).map(|at| {
            let quantile = 1.0 - 10_f64.powf(-nines * f64::from(at) / f64::from(POINTS));
            (x.place(quantile), height(line.latency.at(quantile)))
        });
        let (points, largest) = (points.collect::<Vec<_>>(), (1.0, height(line.latency.max)));
        series.thin.push(points.last().copied().into_iter().chain([largest]).collect());
        series.lines.push(points);
        series.dots.push(largest);
        series
    });
    let stops = STOPS.iter().map(|&(quantile, label)| Stop {
        x: x.place(quantile),
        label: label.to_owned(),
        values: values(&lines, quantile)
            .map(|(at, value)| (at, height(value), words::duration(value)))
            .collect(),
    });
    let chart = Chart {
        title,
        note: "repetitions together; the dot at the right is the largest value".to_owned(),
        axes: ("share of all that are at most this slow".to_owned(), "latency".to_owned()),
        x: x.ticks(|_| String::new()),
        y: y.ticks(latency_tick),
        series: series.collect(),
        stops: stops.filter(|stop| !stop.values.is_empty()).collect(),
        marks: Vec::new(),
    };
    Some(chart.html())
}

/// The quantile of each line that has enough values for it.
#[expect(clippy::cast_precision_loss, reason = "only the magnitude counts")]
fn values(lines: &[Line], quantile: f64) -> impl Iterator<Item = (usize, u64)> {
    lines.iter().enumerate().filter_map(move |(at, line)| {
        let beyond = line.latency.count as f64 * (1.0 - quantile);
        let known = quantile >= 1.0 || beyond >= 1.0 - 1e-6;
        known.then(|| (at, line.latency.at(quantile)))
    })
}
