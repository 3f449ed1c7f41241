//! Second by second: how much was done, how long it took, what failed.

use super::chart::{Chart, Series, Stop};
use super::group::Group;
use super::letter;
use super::scale::{Scale, Tick, count_tick, latency_tick};
use crate::result::{ResultFile, Second, Unit};
use crate::words;

/// Points along the time axis: more are put together.
const POINTS_MAX: usize = 600;

/// Some seconds as one point.
struct Point {
    /// Place in time, 0 to 1.
    x: f64,
    label: String,
    second: Second,
}

/// The seconds of one file, one list for each repetition.
struct Track {
    file: usize,
    repetitions: Vec<Vec<Point>>,
}

/// Where the repetitions are along the axis.
struct Axis {
    ticks: Vec<Tick>,
    marks: Vec<f64>,
    /// Seconds that one point stands for.
    together: usize,
}

/// Rates and latencies of one scenario over time; empty if it has no series.
pub(super) fn charts(groups: &[&Group], files: &[ResultFile]) -> Vec<String> {
    let (tracks, axis) = tracks(groups);
    if tracks.iter().flat_map(|track| &track.repetitions).all(Vec::is_empty) {
        return Vec::new();
    }
    let open = groups.iter().flat_map(|group| &group.runs).any(|run| run.open_loop);
    vec![rate(&tracks, &axis, files, open), latency(&tracks, &axis, files)]
}

/// Repetitions one after another, equal numbers of all files at the same place.
#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
fn tracks(groups: &[&Group]) -> (Vec<Track>, Axis) {
    let mut repetitions: Vec<u32> =
        groups.iter().flat_map(|group| &group.runs).map(|run| run.repetition).collect();
    repetitions.sort_unstable();
    repetitions.dedup();
    let length = |repetition: u32| {
        let runs = groups.iter().flat_map(|group| &group.runs);
        let of_it = runs.filter(|run| run.repetition == repetition);
        of_it.map(|run| run.series.len()).max().unwrap_or(0)
    };
    let lengths: Vec<_> = repetitions.iter().map(|repetition| length(*repetition)).collect();
    let total = lengths.iter().sum::<usize>().max(1);
    let together = total.div_ceil(POINTS_MAX);
    let begins: Vec<_> = lengths
        .iter()
        .scan(0, |begin, length| Some(std::mem::replace(begin, *begin + length)))
        .collect();
    let place = |second: usize| second as f64 / total as f64;
    let tracks = groups.iter().map(|group| {
        let mut points = Vec::new();
        for run in &group.runs {
            let at = repetitions.iter().position(|known| *known == run.repetition).unwrap_or(0);
            let chunks = run.series.chunks(together).enumerate().map(|(number, seconds)| Point {
                x: place(begins[at] + number * together) + place(seconds.len()) / 2.0,
                label: label(run.repetition, number * together, seconds.len()),
                second: merge(seconds),
            });
            points.push(chunks.collect());
        }
        Track { file: group.file, repetitions: points }
    });
    let axis = Axis {
        ticks: ticks(&lengths, &begins, place),
        marks: begins.iter().skip(1).map(|begin| place(*begin)).collect(),
        together,
    };
    (tracks.collect(), axis)
}

fn label(repetition: u32, from: usize, count: usize) -> String {
    let seconds = match count {
        1 => format!("second {}", from + 1),
        _ => format!("seconds {} to {}", from + 1, from + count),
    };
    format!("repetition {}, {seconds}", u64::from(repetition) + 1)
}

/// One repetition has its seconds below it, several their numbers.
fn ticks(lengths: &[usize], begins: &[usize], place: impl Fn(usize) -> f64) -> Vec<Tick> {
    if let [length] = lengths {
        let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400]
            .into_iter()
            .find(|step| length / step <= 8)
            .unwrap_or(*length);
        let seconds = (0..=*length).step_by(step.max(1));
        let tick = |(at, second)| Tick {
            place: place(second),
            label: format!("{second} s"),
            minor: at % 2 == 1,
        };
        return seconds.enumerate().map(tick).collect();
    }
    let every = lengths.len().div_ceil(8);
    let numbered = begins.iter().zip(lengths).enumerate().step_by(every);
    let tick = |(at, (begin, length)): (usize, (&usize, &usize))| Tick {
        place: f64::midpoint(place(*begin), place(begin + length)),
        label: format!("{}.", at + 1),
        minor: false,
    };
    numbered.map(tick).collect()
}

/// Several seconds as one: means of what was counted, the worst of latencies, all failures.
fn merge(seconds: &[Second]) -> Second {
    let count = seconds.len().max(1) as u64;
    let mean = |of: fn(&Second) -> u64| seconds.iter().map(of).fold(0, u64::saturating_add) / count;
    let worst = |of: fn(&Second) -> u64| seconds.iter().map(of).max().unwrap_or(0);
    Second {
        offered_records: mean(|second| second.offered_records),
        records: mean(|second| second.records),
        bytes: mean(|second| second.bytes),
        errors: seconds.iter().map(|second| second.errors).fold(0, u64::saturating_add),
        p50: worst(|second| second.p50),
        p99: worst(|second| second.p99),
        max: worst(|second| second.max),
    }
}

fn note(axis: &Axis, of_latency: bool) -> String {
    let mut notes = Vec::new();
    if !axis.marks.is_empty() {
        notes.push("repetitions one after another".to_owned());
    }
    if axis.together > 1 {
        let how = if of_latency { "the worst" } else { "the mean" };
        notes.push(format!("thinned: a point is {how} of {} seconds", axis.together));
    }
    notes.join("; ")
}

/// Adds a stop for each point, with what `of` says of it.
fn stops(tracks: &[Track], of: impl Fn(usize, &Second) -> Vec<(usize, f64, String)>) -> Vec<Stop> {
    let mut stops: Vec<Stop> = Vec::new();
    for (number, track) in tracks.iter().enumerate() {
        for point in track.repetitions.iter().flatten() {
            let values = of(number, &point.second);
            match stops.iter_mut().find(|stop| (stop.x - point.x).abs() < 1e-9) {
                Some(stop) => stop.values.extend(values),
                None => stops.push(Stop { x: point.x, label: point.label.clone(), values }),
            }
        }
    }
    stops.sort_by(|a, b| a.x.total_cmp(&b.x));
    stops
}

fn rate(tracks: &[Track], axis: &Axis, files: &[ResultFile], open: bool) -> String {
    let all = || tracks.iter().flat_map(|track| &track.repetitions).flatten();
    let offered = |second: &Second| if open { second.offered_records } else { 0 };
    let scale =
        Scale::linear(all().map(|point| number(point.second.records.max(offered(&point.second)))));
    let height = |value: u64| scale.place(number(value));
    let mut series = Vec::new();
    for track in tracks {
        let mut done =
            Series::new(format!("{}done", letter(track.file, files)), Some(track.file), 0);
        done.lines = lines(track, |second| Some(height(second.records)));
        series.push(done);
    }
    let errors = all().any(|point| point.second.errors > 0);
    for (at, track) in tracks.iter().enumerate() {
        let mut failed = Series::new(format!("{}errors", letter(track.file, files)), Some(3), 0);
        let places = track.repetitions.iter().flatten().filter(|point| point.second.errors > 0);
        failed.dots = places.map(|point| (point.x, 0.02 + 0.03 * number(at as u64))).collect();
        if errors {
            series.push(failed);
        }
    }
    if open && let Some(track) = tracks.first() {
        let mut asked = Series::new("offered", None, 1);
        asked.lines = lines(track, |second| Some(height(second.offered_records)));
        series.push(asked);
    }
    let count = tracks.len();
    let last = series.len() - 1;
    let stops = stops(tracks, |track, second| {
        let rate = words::quantity(number(second.records), Unit::PerSecond);
        let bytes = words::quantity(number(second.bytes), Unit::BytesPerSecond);
        let mut values = vec![(track, height(second.records), format!("{rate}, {bytes}"))];
        if second.errors > 0 {
            values.push((count + track, 0.02, words::count(second.errors)));
        }
        if open && track == 0 {
            let offered = words::quantity(number(second.offered_records), Unit::PerSecond);
            values.push((last, height(second.offered_records), offered));
        }
        values
    });
    let y = scale.ticks(count_tick);
    finish("Records per second", axis, ("records / s", false), (y, series, stops))
}

fn latency(tracks: &[Track], axis: &Axis, files: &[ResultFile]) -> String {
    let all = || tracks.iter().flat_map(|track| &track.repetitions).flatten();
    let scale = Scale::log(
        all().flat_map(|point| [point.second.p50, point.second.p99, point.second.max].map(number)),
    );
    let height = |value: u64| scale.place(number(value));
    let of = |second: &Second, which: usize| [second.p50, second.p99, second.max][which];
    let mut series = Vec::new();
    for track in tracks {
        for (which, name) in ["p50", "p99", "max"].into_iter().enumerate() {
            // With one file the colours are free to tell the lines apart.
            let hue = if tracks.len() == 1 { which } else { track.file };
            let name = format!("{}{name}", letter(track.file, files));
            let mut line = Series::new(name, Some(hue), which);
            // A second in which nothing was done has no latency.
            line.lines = lines(track, |second| {
                Some(of(second, which)).filter(|value| *value > 0).map(height)
            });
            series.push(line);
        }
    }
    let stops = stops(tracks, |track, second| {
        let each = (0..3).filter(|which| of(second, *which) > 0);
        each.map(|which| {
            let value = of(second, which);
            (track * 3 + which, height(value), words::duration(value))
        })
        .collect()
    });
    let y = scale.ticks(latency_tick);
    finish("Latency over time", axis, ("latency", true), (y, series, stops))
}

fn finish(
    title: &str,
    axis: &Axis,
    (name, of_latency): (&str, bool),
    (y, series, stops): (Vec<Tick>, Vec<Series>, Vec<Stop>),
) -> String {
    let below = if axis.marks.is_empty() { "time" } else { "repetition" };
    let chart = Chart {
        title: title.to_owned(),
        note: note(axis, of_latency),
        axes: (below.to_owned(), name.to_owned()),
        x: axis.ticks.clone(),
        y,
        series,
        stops,
        marks: axis.marks.clone(),
    };
    chart.html()
}

/// A line for each repetition, broken where there is no value.
fn lines(track: &Track, height: impl Fn(&Second) -> Option<f64>) -> Vec<Vec<(f64, f64)>> {
    let mut lines = Vec::new();
    for repetition in &track.repetitions {
        let places: Vec<_> =
            repetition.iter().map(|point| (point.x, height(&point.second))).collect();
        for line in places.split(|(_, height)| height.is_none()) {
            lines.push(line.iter().filter_map(|(x, height)| Some((*x, (*height)?))).collect());
        }
    }
    lines
}

#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
fn number(value: u64) -> f64 {
    value as f64
}
