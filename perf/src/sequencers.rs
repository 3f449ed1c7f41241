//! `pyralog bench seq`: what ids and counters cost, beside what the disk and a ping cost in the same minute.
//!
//! Figures come in rounds, each subject right after what it is compared with, so that a drift of the machine meets both.
//! On a core, without a server: dealing from memory, and what is durable against plain `ftruncate` and `fdatasync` on a
//! thread. Over a connection, with a server of its own: requests answered in turn against pings sent in the same way.

mod local;
mod served;

use crate::args::SeqArgs;
use crate::bench::{Form, Grounds};
use crate::failure::Failure;
use crate::figures::Figures;
use crate::live::Live;
use crate::scenario::Scenario;
use crate::server::{Place, Server};

/// Runs `bench seq`.
///
/// # Errors
/// If the machine, the directory or the server does not do.
pub(crate) fn run(args: &SeqArgs, form: Form) -> Result<(), Failure> {
    let grounds = Grounds::new(&args.place, 1)?;
    let mut live = Live::new(form == Form::Json);
    live.title("bench seq");
    if let Some(warning) = grounds.warning(1) {
        live.note(&warning);
    }
    let mut figures = Figures::default();
    let cpus = grounds.server_cpus(1);
    local::measure(&grounds.parent, cpus[0] as usize, args.rounds, &mut figures)?;
    grounds.check()?;
    let scenario = Scenario { shards: 1, ..Scenario::default() };
    let place = Place { parent: grounds.parent.clone(), cpus };
    let server = Server::start(&scenario, &place)?;
    served::measure(server.address(), args.rounds, &mut figures)?;
    server.stop()?;
    judge(&mut figures);
    figures.show(&grounds.parent, form)
}

/// The aims of issue 5.
fn judge(figures: &mut Figures) {
    figures.judge(local::NUMBER, None, Some("below 5 ns"));
    figures.judge(local::THOUSAND, None, Some("below 1000 ns"));
    figures.judge(local::ALWAYS, Some(local::SYNC), Some("at most 1.2 x"));
    figures.judge(local::GROUP, Some(local::ALWAYS_RATE), Some("at least 20 x"));
    figures.judge(local::FILE, None, Some("below 8192 bytes"));
    figures.judge(local::RECOVERY, None, Some("below 1 s"));
    figures.judge(served::ONE, Some(served::PING), Some("at least 0.8 x"));
    figures.judge(served::BLOCKS, None, Some("at least 1 G/s"));
}
