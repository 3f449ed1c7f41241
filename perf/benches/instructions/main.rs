//! Instructions that the append path executes, counted by callgrind: numbers that do not depend on the machine's mood.
//!
//! The partition runs in the simulated world, because valgrind knows no `io_uring`. Only what the server's core would
//! execute is counted: within `Partition::append` (validation, sessions, the copy into the group, sealing, the index),
//! and within the machine's `poll` and `written` (the mark, the chain of checksums, the tail, the answers), whenever the
//! writer calls them. The simulated disk and the scheduling of tasks are left out. Of two runs that differ in the
//! number of appends the difference is taken, so that opening the partition does not count either.
//!
//! `perf/instructions/run` builds this in the way in which the kept numbers were, counts, and compares.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking, like a test")]

mod appends;
mod counting;

use std::process::ExitCode;

use appends::SHAPES;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [counting::APPENDS, shape, count] => {
            let shape = SHAPES.iter().find(|known| known.name == shape).expect("a shape of ours");
            shape.run(count.parse().unwrap());
            ExitCode::SUCCESS
        }
        _ if arguments.contains(&"--count") => counting::count(arguments.contains(&"--write")),
        _ => {
            for shape in SHAPES {
                shape.run(1);
                println!("{:<22} runs", shape.name);
            }
            println!("nothing was counted: perf/instructions/run does that");
            ExitCode::SUCCESS
        }
    }
}
