//! The high-water marks of ids in a data directory, read off the disk: also while no server runs there.

use std::path::Path;
use std::sync::mpsc;

use pyralog_runtime::{MachineConfig, Pin};
use pyralog_seq::obelisk_file::{names, peek};
use pyralog_seq::scarab::EPOCH_UNIX_MS;
use pyralog_shard::data_dir::SCARAB_FOLDER;

/// The mark of one shard of the server, also of one that it had in an earlier life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Its name, such as `shard-0`.
    pub(crate) name: String,
    /// No id with this time or a later one was dealt under it, in milliseconds since the Unix epoch; or why it is not known.
    pub(crate) unix_ms: Result<u64, String>,
}

/// The marks of a data directory, by name; none if no server ever dealt ids there.
///
/// # Errors
/// In one sentence, if they cannot be listed.
#[expect(clippy::disallowed_types, reason = "an ordinary thread waits for the executor's answer")]
pub(crate) fn read(data: &Path) -> Result<Vec<Mark>, String> {
    let folder = data.join(SCARAB_FOLDER);
    let config = MachineConfig {
        shards: 1,
        pin: Pin::None,
        buffer_bytes: 4 << 20,
        name: "marks".to_owned(),
        ..MachineConfig::default()
    };
    let (answer, answered): (_, mpsc::Receiver<Result<Vec<Mark>, String>>) = mpsc::sync_channel(1);
    let machine = pyralog_runtime::start(&config, move |core| {
        let (answer, folder) = (answer.clone(), folder.clone());
        async move {
            // The receiver waits below until the machine has ended.
            answer.send(collect(&folder).await).ok();
            core.stopper().stop();
        }
    });
    let machine = machine.map_err(|error| error.to_string())?;
    machine.join().map_err(|error| error.to_string())?;
    answered.try_recv().map_err(|_| "the executor ended early".to_owned())?
}

async fn collect(folder: &Path) -> Result<Vec<Mark>, String> {
    let mut marks = Vec::new();
    for name in names(folder).await.map_err(|error| error.to_string())? {
        let value = peek(folder, &name).await;
        let unix_ms = value.map(|ms| EPOCH_UNIX_MS.saturating_add(ms));
        marks.push(Mark { name, unix_ms: unix_ms.map_err(|error| error.to_string()) });
    }
    Ok(marks)
}
