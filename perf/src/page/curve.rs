//! Latency against throughput, from the steps of a ramp or a search.

use super::chart::{Chart, Series, Stop};
use super::group::Group;
use super::letter;
use super::scale::{Scale, count_tick, latency_tick};
use crate::result::{ResultFile, Step, Unit};
use crate::words;

/// Steps of a scenario that are drawn.
const STEPS_SHOWN_MAX: usize = 400;

/// The quantiles that are drawn.
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// The curve of one scenario; `None` if it has no steps.
#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
pub(super) fn chart(groups: &[&Group], files: &[ResultFile]) -> Option<String> {
    let runs = || groups.iter().flat_map(|group| &group.runs);
    let total: usize = runs().map(|run| run.steps.len()).sum();
    if total == 0 {
        return None;
    }
    let all = || runs().flat_map(|run| &run.steps).filter(|step| step.latency.count > 0);
    let x = Scale::linear(all().map(|step| step.rate));
    let each = QUANTILES.map(|(quantile, _)| quantile);
    let y = Scale::log(all().flat_map(|step| each.map(|at| step.latency.at(at) as f64)));
    let place = |step: &Step, at: f64| (x.place(step.rate), y.place(step.latency.at(at) as f64));
    let (mut lines, mut stops, mut shown) = (Vec::new(), Vec::new(), 0);
    for group in groups {
        let first = lines.len();
        for (which, (_, name)) in QUANTILES.into_iter().enumerate() {
            let hue = if groups.len() == 1 { which } else { group.file };
            lines.push(Series::new(
                format!("{}{name}", letter(group.file, files)),
                Some(hue),
                which,
            ));
        }
        for run in &group.runs {
            let room = STEPS_SHOWN_MAX - shown;
            let known = run.steps.iter().filter(|step| step.latency.count > 0).take(room);
            let known: Vec<_> = known.collect();
            shown += known.len();
            for (which, (quantile, _)) in QUANTILES.into_iter().enumerate() {
                let series: &mut Series = &mut lines[first + which];
                series.lines.push(known.iter().map(|step| place(step, quantile)).collect());
                for step in &known {
                    let kind = if step.kept_up { &mut series.dots } else { &mut series.rings };
                    kind.push(place(step, quantile));
                }
            }
            stops.extend(known.iter().map(|step| stop(step, first, x.place(step.rate), y)));
        }
    }
    stops.sort_by(|a, b| a.x.total_cmp(&b.x));
    let rings = "a ring is a rate that the server did not keep up with";
    let note = if shown < total {
        format!("{rings}; {shown} of {total} steps are drawn")
    } else {
        rings.to_owned()
    };
    let chart = Chart {
        title: "Latency against throughput".to_owned(),
        note,
        axes: ("records / s done".to_owned(), "latency".to_owned()),
        x: x.ticks(count_tick),
        y: y.ticks(latency_tick),
        series: lines,
        stops,
        marks: Vec::new(),
    };
    Some(chart.html())
}

#[expect(clippy::cast_precision_loss, reason = "places on a chart")]
fn stop(step: &Step, first: usize, x: f64, y: Scale) -> Stop {
    let rate = |value| words::quantity(value, Unit::PerSecond);
    let kept = if step.kept_up { "kept up" } else { "fell behind" };
    Stop {
        x,
        label: format!(
            "asked {}, did {}, {}: {kept}",
            rate(step.offered_rate),
            rate(step.rate),
            words::quantity(step.bytes_rate, Unit::BytesPerSecond)
        ),
        values: QUANTILES
            .into_iter()
            .enumerate()
            .map(|(which, (quantile, _))| {
                let value = step.latency.at(quantile);
                (first + which, y.place(value as f64), words::duration(value))
            })
            .collect(),
    }
}
