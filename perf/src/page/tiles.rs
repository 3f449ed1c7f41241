//! The four numbers at the top, and the sentences about what limits the server.
//!
//! Scenarios are chosen by what they are, not by their names, so that a file of one's own scenarios has tiles as well:
//!
//! | tile | scenario |
//! |---|---|
//! | ingest | the most bytes a second to an acknowledgement |
//! | one record | the fewest records in a batch that are held against the disk's sync, else against an echo |
//! | tail | open loop without steps, nearest to half of the ingest rate |
//! | processor | that of ingest |

use std::fmt::Write as _;

use super::group::{Group, Value};
use super::markup::escape;
use super::{letter, says};
use crate::bottleneck;
use crate::compare::{Measure, Quantile};
use crate::result::{CeilingName, ResultFile, Unit};
use crate::words;

/// A number of a talk.
struct Tile {
    title: &'static str,
    value: String,
    /// What it is held against.
    beside: String,
    /// Share of a ceiling, 0 to 1, to be drawn.
    share: Option<f64>,
    /// Which scenario, how many runs, how far apart.
    source: String,
    /// The other files.
    others: Vec<String>,
}

/// The tiles and what limits the server.
pub(super) fn html(groups: &[Group], files: &[ResultFile]) -> String {
    let ingest = ingest(groups);
    let tiles = [
        ingest.map(|group| rate_tile(group)),
        single(groups).map(|(group, ceiling)| single_tile(group, ceiling, files)),
        tail(groups, ingest).map(|group| tail_tile(group, ingest)),
        ingest.and_then(cpu_tile),
    ];
    let measures = [
        ingest.map(|group| (group, Measure::ByteRate)),
        single(groups).map(|(group, _)| (group, quantile(group, Quantile::P50))),
        tail(groups, ingest).map(|group| (group, quantile(group, Quantile::P999))),
        ingest.map(|group| (group, Measure::ServerCpu)),
    ];
    let mut html = String::new();
    for (tile, measure) in tiles.into_iter().zip(measures) {
        let (Some(mut tile), Some((group, measure))) = (tile, measure) else { continue };
        tile.others = others(groups, group, &measure, files);
        html.push_str(&tile.html());
    }
    let tiles = if html.is_empty() { html } else { format!("<div class=\"tiles\">{html}</div>") };
    let of_ingest = groups
        .iter()
        .filter(|group| ingest.is_some_and(|ingest| group.scenario == ingest.scenario));
    let leads: Vec<_> = of_ingest.map(|group| lead(group, files)).collect();
    format!("{}{tiles}", leads.concat())
}

/// What limits this scenario, as a paragraph; empty if nothing is known of it.
pub(super) fn limit(group: &Group, files: &[ResultFile]) -> String {
    bottleneck::sentence(&group.runs)
        .map(|sentence| {
            format!("<p class=\"limit\">{}{}</p>", says(group.file, files), escape(&sentence))
        })
        .unwrap_or_default()
}

fn lead(group: &Group, files: &[ResultFile]) -> String {
    bottleneck::sentence(&group.runs)
        .map(|sentence| {
            let (sentence, scenario) = (escape(&sentence), escape(group.scenario));
            let letter = letter(group.file, files);
            format!("<p class=\"lead\">{sentence} <small>{letter}{scenario}</small></p>")
        })
        .unwrap_or_default()
}

impl Tile {
    fn html(&self) -> String {
        let mut html = format!(
            "<article><h3>{}</h3><p class=\"value\">{}</p><p>{}</p>",
            self.title,
            escape(&self.value),
            escape(&self.beside)
        );
        if let Some(share) = self.share {
            write!(
                html,
                "<div class=\"bar h0\" aria-hidden=\"true\"><i style=\"width:{:.1}%\"></i></div>",
                share.clamp(0.0, 1.0) * 100.0
            )
            .expect("a string takes all");
        }
        for other in &self.others {
            write!(html, "<p class=\"other\">{}</p>", escape(other)).expect("a string takes all");
        }
        write!(html, "<small>{}</small></article>", escape(&self.source))
            .expect("a string takes all");
        html
    }
}

/// Groups of the first file that has any: its numbers are on the tiles, the others beside them.
fn first<'a>(groups: &'a [Group<'a>]) -> impl Iterator<Item = &'a Group<'a>> {
    let file = groups.iter().map(|group| group.file).min();
    groups.iter().filter(move |group| Some(group.file) == file)
}

fn median_of(group: &Group, measure: &Measure) -> f64 {
    group.value(measure).map_or(0.0, |value| value.median)
}

fn ingest<'a>(groups: &'a [Group<'a>]) -> Option<&'a Group<'a>> {
    let rate = |group: &&Group| median_of(group, &Measure::ByteRate);
    first(groups)
        .filter(|group| group.main_latency() == Some("ack") && rate(group) > 0.0)
        // Over all steps of a search, a rate says nothing.
        .filter(|group| group.runs.iter().all(|run| run.steps.is_empty()))
        .max_by(|a, b| rate(a).total_cmp(&rate(b)))
}

fn single<'a>(groups: &'a [Group<'a>]) -> Option<(&'a Group<'a>, CeilingName)> {
    [CeilingName::DiskSync, CeilingName::TcpEcho].into_iter().find_map(|ceiling| {
        let against = |group: &&Group| group.value(&Measure::Share(ceiling)).is_some();
        let batch = |group: &Group| {
            let totals = group.runs.iter().map(|run| &run.totals);
            totals.map(|totals| totals.records / totals.batches.max(1)).max()
        };
        let p50 = |group: &Group| median_of(group, &quantile(group, Quantile::P50));
        first(groups)
            .filter(against)
            .min_by(|a, b| batch(a).cmp(&batch(b)).then(p50(a).total_cmp(&p50(b))))
            .map(|group| (group, ceiling))
    })
}

fn tail<'a>(groups: &'a [Group<'a>], ingest: Option<&Group>) -> Option<&'a Group<'a>> {
    let full = median_of(ingest?, &Measure::ByteRate);
    let from_half = |group: &Group| (median_of(group, &Measure::ByteRate) / full - 0.5).abs();
    first(groups)
        .filter(|group| {
            let paced = group.runs.iter().all(|run| run.open_loop && run.steps.is_empty());
            let known = group.value(&quantile(group, Quantile::P999)).is_some();
            paced && known && median_of(group, &Measure::ByteRate) > 0.0
        })
        .min_by(|a, b| from_half(a).total_cmp(&from_half(b)))
}

fn quantile(group: &Group, quantile: Quantile) -> Measure {
    let name = group.main_latency().unwrap_or_default().to_owned();
    Measure::Latency { name, quantile }
}

fn rate_tile(group: &Group) -> Tile {
    let mut shares: Vec<_> = group
        .runs
        .iter()
        .flat_map(|run| &run.shares)
        .filter(|share| share.ceiling.unit() != Unit::Nanoseconds)
        .map(|share| share.ceiling)
        .filter_map(|name| Some((name, group.value(&Measure::Share(name))?.median)))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    let records = format!("{} records/s", words::many(median_of(group, &Measure::RecordRate)));
    let beside = shares.first().map_or(records.clone(), |(name, share)| {
        format!("{records}; {} of {}", words::percent(*share), words::ceiling(*name))
    });
    let share = shares.first().map(|(_, share)| *share);
    tile("Ingest", group, &Measure::ByteRate, (beside, share))
}

#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn single_tile(group: &Group, ceiling: CeilingName, files: &[ResultFile]) -> Tile {
    let measure = quantile(group, Quantile::P50);
    let of_file = files.get(group.file).into_iter().flat_map(|file| &file.ceilings);
    let alone = of_file
        .filter(|known| known.name == ceiling)
        .find_map(|known| known.latency.as_ref().map(|latency| latency.at(0.5) as f64));
    let ratio = median_of(group, &Measure::Share(ceiling));
    let name = words::ceiling(ceiling);
    let beside = match alone {
        Some(alone) => {
            let more = words::nanoseconds((median_of(group, &measure) - alone).max(0.0));
            format!("{more} above the {name} alone, {}", words::nanoseconds(alone))
        }
        None => format!("{} times the {name} alone", words::ratio(ratio)),
    };
    tile("Single record, p50", group, &measure, (beside, None))
}

fn tail_tile(group: &Group, ingest: Option<&Group>) -> Tile {
    let rate = median_of(group, &Measure::ByteRate);
    let full = ingest.map_or(0.0, |group| median_of(group, &Measure::ByteRate));
    let beside = format!(
        "at {}, {} of the highest rate",
        words::quantity(rate, Unit::BytesPerSecond),
        words::percent(rate / full)
    );
    tile("p99.9 of a paced load", group, &quantile(group, Quantile::P999), (beside, None))
}

fn cpu_tile(group: &Group) -> Option<Tile> {
    group.value(&Measure::ServerCpu)?;
    let totals = group.runs.first().map(|run| &run.totals)?;
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let size = words::bytes(totals.bytes as f64 / totals.records.max(1) as f64);
    let beside = format!("of the server for a million records of {size}");
    Some(tile("Processor time", group, &Measure::ServerCpu, (beside, None)))
}

fn tile(
    title: &'static str,
    group: &Group,
    measure: &Measure,
    (beside, share): (String, Option<f64>),
) -> Tile {
    let value = group.value(measure);
    let value_words = value.map_or("–".to_owned(), |value| measure.words(value.median));
    let source = value.map_or(String::new(), source);
    Tile {
        title,
        value: value_words,
        beside,
        share,
        source: format!("{}{source}", group.scenario),
        others: Vec::new(),
    }
}

fn source(value: Value) -> String {
    match value.spread {
        None => ", one run".to_owned(),
        Some(spread) => {
            format!(", median of {} runs ±\u{a0}{}", value.runs, words::percent(spread))
        }
    }
}

/// The same measure of the same scenario in the other files.
fn others(groups: &[Group], of: &Group, measure: &Measure, files: &[ResultFile]) -> Vec<String> {
    let base = median_of(of, measure);
    groups
        .iter()
        .filter(|group| group.scenario == of.scenario && group.file != of.file)
        .filter_map(|group| {
            let value = group.value(measure)?.median;
            let change = words::change(value / base);
            Some(format!("{}{} ({change})", letter(group.file, files), measure.words(value)))
        })
        .collect()
}
