//! `pyralog obelisk`: named durable counters, and what a node deals ids from.

mod node;

use std::fmt::Write as _;

use pyralog_client::{ClientError, CounterConfig, CounterInfo, CounterMode, ErrorCode};
use serde_json::{Value, json};

use crate::args::{
    CounterCreateArgs, CounterListArgs, CounterModeArg, CounterNextArgs, CounterRaiseArgs,
    CounterStatArgs, ObeliskCommand,
};
use crate::connect::{connect, explain};
use crate::exit::Failure;
use crate::output::{Output, Tone};
use crate::quantity::{bytes_human, count_human, duration_exact};
use crate::session::Session;

/// Runs one of the `obelisk` commands.
///
/// # Errors
/// If the server refuses or cannot be reached.
pub(crate) fn run(session: &Session, command: &ObeliskCommand) -> Result<(), Failure> {
    match command {
        ObeliskCommand::Create(args) => create(session, args),
        ObeliskCommand::List(args) => list(session, args),
        ObeliskCommand::Get(args) => {
            let connected = connect(session, &args.client)?;
            let counter = connected.client.describe_counter(&args.name);
            get(session.output, &counter.map_err(|error| explain(&error))?)
        }
        ObeliskCommand::Next(args) => next(session, args),
        ObeliskCommand::Stat(args) => stat(session, args),
        ObeliskCommand::Raise(args) => raise(session, args),
    }
}

fn create(session: &Session, args: &CounterCreateArgs) -> Result<(), Failure> {
    let config = wanted(args)?;
    let connected = connect(session, &args.client)?;
    let output = session.output;
    // Only to say whether it is new: to create it again changes nothing.
    let is_there = match connected.client.describe_counter(&args.name) {
        Ok(_) => true,
        Err(error) if is(&error, ErrorCode::UnknownCounter) => false,
        Err(error) => return Err(explain(&error)),
    };
    let counter = match connected.client.create_counter(&args.name, config) {
        Ok(counter) => counter,
        Err(error) if is(&error, ErrorCode::CounterExists) => {
            return Err(
                explain(&error).hint(format!("`pyralog obelisk stat {}` shows it", args.name))
            );
        }
        Err(error) => return Err(explain(&error)),
    };
    warn(output, config.mode);
    if output.json() {
        return output.document(&counter_json(&counter));
    }
    let done = if is_there { "exists already:" } else { "created" };
    output.line(&format!(
        "{} {} ({})",
        output.paint(Tone::Good, done),
        counter.name,
        summary(&config)
    ))
}

/// The configuration that the flags ask for.
fn wanted(args: &CounterCreateArgs) -> Result<CounterConfig, Failure> {
    let refused = |flag, mode| Err(Failure::usage(format!("{flag} is for --mode {mode} only")));
    if args.block.is_some() && args.mode != CounterModeArg::Reserve {
        return refused("--block", "reserve");
    }
    if args.interval.is_some() && args.mode != CounterModeArg::UnsafeInterval {
        return refused("--interval", "unsafe-interval");
    }
    let defaults = CounterConfig::default();
    let interval_ms = args.interval.map(|interval| {
        // Out of range either way: checked below.
        u32::try_from(interval.as_millis()).unwrap_or(u32::MAX)
    });
    let config = CounterConfig {
        mode: args.mode.into(),
        block: args.block.unwrap_or(defaults.block),
        interval_ms: interval_ms.unwrap_or(defaults.interval_ms),
    };
    config.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(config)
}

fn warn(output: Output, mode: CounterMode) {
    let caution = match mode {
        CounterMode::UnsafeInterval => {
            "a crash REPEATS the numbers dealt since the last sync: use this for caches only"
        }
        CounterMode::Memory => "this counter begins again at 1 with every start of the server",
        _ => return,
    };
    output.note(&format!("{} {caution}", output.paint_note(Tone::Caution, "warning:")));
}

fn list(session: &Session, args: &CounterListArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let counters = connected.client.list_counters(&args.prefix);
    let counters = counters.map_err(|error| explain(&error))?;
    let output = session.output;
    if output.json() {
        return output.document(&counters.iter().map(counter_json).collect());
    }
    if counters.is_empty() {
        output.note("no counters; `pyralog obelisk create NAME` makes one");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = counters
        .iter()
        .map(|counter| {
            let is_fine = counter.problem.is_empty();
            let known = |text: String| if is_fine { text } else { "-".to_owned() };
            vec![
                counter.name.clone(),
                known(counter.config.mode.to_string()),
                known(count_human(counter.last)),
                known(count_human(counter.durable)),
                counter.shard.to_string(),
                if is_fine { "ok" } else { counter.problem.as_str() }.to_owned(),
            ]
        })
        .collect();
    output.table(&["NAME", "MODE", "LAST", "DURABLE", "SHARD", "STATE"], &rows)
}

fn get(output: Output, counter: &CounterInfo) -> Result<(), Failure> {
    if output.json() {
        return output.document(&json!({ "name": counter.name, "last": counter.last }));
    }
    fine(counter)?;
    output.line(&counter.last.to_string())
}

/// A failure with the problem of a counter that deals nothing.
fn fine(counter: &CounterInfo) -> Result<(), Failure> {
    if counter.problem.is_empty() { Ok(()) } else { Err(Failure::failed(&counter.problem)) }
}

fn next(session: &Session, args: &CounterNextArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let taken = connected.client.counter_take(&args.name, args.count);
    let taken = taken.map_err(|error| explain(&error))?;
    if session.output.json() {
        return session.output.document(&json!({
            "name": args.name,
            "first": taken.start,
            "last": taken.end - 1,
            "count": args.count,
        }));
    }
    let text = taken.fold(String::new(), |mut text, number| {
        writeln!(text, "{number}").expect("a String takes every write");
        text
    });
    session.output.bytes(text.as_bytes())
}

fn stat(session: &Session, args: &CounterStatArgs) -> Result<(), Failure> {
    let Some(name) = &args.name else { return node::run(session, args) };
    let connected = connect(session, &args.client)?;
    let counter = connected.client.describe_counter(name).map_err(|error| explain(&error))?;
    print(session.output, &counter)?;
    fine(&counter)
}

fn raise(session: &Session, args: &CounterRaiseArgs) -> Result<(), Failure> {
    let connected = connect(session, &args.client)?;
    let raised = connected.client.raise_counter(&args.name, args.value);
    let counter = raised.map_err(|error| explain(&error))?;
    let output = session.output;
    if output.json() {
        return output.document(&counter_json(&counter));
    }
    let next = counter.last.saturating_add(1);
    output.line(&format!("{} goes on at {next} or above", output.paint(Tone::Good, &counter.name)))
}

fn print(output: Output, counter: &CounterInfo) -> Result<(), Failure> {
    if output.json() {
        return output.document(&counter_json(counter));
    }
    let strong = output.paint(Tone::Strong, &counter.name);
    if !counter.problem.is_empty() {
        return output.line(&format!("{strong}  on shard {}, deals nothing", counter.shard));
    }
    output.line(&format!("{strong}  {}, on shard {}", summary(&counter.config), counter.shard))?;
    let line = |title: &str, text: &str| {
        output.line(&format!("{} {text}", output.paint(Tone::Faint, &format!("{title:<10}"))))
    };
    line("last", &count_human(counter.last))?;
    let reserved = counter.durable.saturating_sub(counter.last);
    line(
        "durable",
        &format!("{} ({} in reserve)", count_human(counter.durable), count_human(reserved)),
    )?;
    if counter.config.mode == CounterMode::Memory {
        return line("file", "none");
    }
    line(
        "file",
        &format!(
            "{} allocated, generation {} of {} numbers each",
            bytes_human(counter.disk_bytes),
            counter.generation,
            count_human(counter.stride)
        ),
    )
}

/// `reserve, blocks of 65,536`.
fn summary(config: &CounterConfig) -> String {
    match config.mode {
        CounterMode::Reserve => format!("reserve, blocks of {}", count_human(config.block)),
        CounterMode::UnsafeInterval => {
            let interval = std::time::Duration::from_millis(config.interval_ms.into());
            format!("unsafe-interval, synced every {}", duration_exact(interval))
        }
        mode => mode.to_string(),
    }
}

fn counter_json(counter: &CounterInfo) -> Value {
    let config = &counter.config;
    json!({
        "name": counter.name,
        "mode": config.mode.to_string(),
        "block": (config.mode == CounterMode::Reserve).then_some(config.block),
        "interval_ms": (config.mode == CounterMode::UnsafeInterval).then_some(config.interval_ms),
        "shard": counter.shard,
        "last": counter.last,
        "durable": counter.durable,
        "generation": counter.generation,
        "stride": counter.stride,
        "disk_bytes": counter.disk_bytes,
        "problem": Some(&counter.problem).filter(|problem| !problem.is_empty()),
    })
}

fn is(error: &ClientError, code: ErrorCode) -> bool {
    error.reply().is_some_and(|reply| reply.is(code))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::args::ClientArgs;

    fn asked(mode: CounterModeArg) -> CounterCreateArgs {
        let client = ClientArgs::default();
        CounterCreateArgs { name: "n".to_owned(), mode, block: None, interval: None, client }
    }

    #[test]
    fn flags_of_another_mode_are_refused_and_ranges_kept() {
        let reserve = CounterModeArg::Reserve;
        let config = wanted(&CounterCreateArgs { block: Some(7), ..asked(reserve) }).unwrap();
        assert_eq!(summary(&config), "reserve, blocks of 7");
        let interval = Some(Duration::from_millis(250));
        let wrong = [
            CounterCreateArgs { block: Some(0), ..asked(reserve) },
            CounterCreateArgs { block: Some(7), ..asked(CounterModeArg::Always) },
            CounterCreateArgs { interval, ..asked(reserve) },
            CounterCreateArgs {
                interval: Some(Duration::from_secs(61)),
                ..asked(CounterModeArg::UnsafeInterval)
            },
        ];
        for args in wrong {
            let failure = wanted(&args).unwrap_err();
            assert_eq!(failure.status(), crate::exit::Status::Usage, "{args:?}");
        }
        let unsafe_one = CounterCreateArgs { interval, ..asked(CounterModeArg::UnsafeInterval) };
        assert_eq!(summary(&wanted(&unsafe_one).unwrap()), "unsafe-interval, synced every 250ms");
    }
}
