//! A real file system that is full: counters and ids go on or say so, the server lives, and nothing comes twice.
//!
//! It takes root, a loop device and ext4; where one is missing the test passes and says so on standard error.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyralog_client::blocking::{Client, IdSource};
use pyralog_client::{
    ClientError, CounterConfig, ErrorCode, ErrorReply, IdConfig, LogConfig, ProducerConfig, Record,
};

use super::disk::{Missing, run};
use super::namespace;
use super::oracle::{BLOCK, COUNTERS, Dealt, Oracle};
use super::server::{Ports, ServerProcess};
use super::workload::connect;

/// The test, as its process in a namespace of its own is told.
const TEST: &str = "full::a_full_disk_is_told_and_nothing_comes_twice";

/// What is not known if it cannot run.
const UNTESTED: &str = "that counters and ids survive a full file system without a repeat";

/// Bytes of the file system: a server with one log has 10 MiB.
const DISK_BYTES: u64 = 48 << 20;

/// A small file system in a file. Unmounted with the namespace that it is mounted in.
struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    fn try_new(place: &Path) -> Result<Self, Missing> {
        if !rustix::process::geteuid().is_root() {
            return Err(Missing("only root may mount".to_owned()));
        }
        let (image, directory) = (place.join("image"), place.join("disk"));
        File::create_new(&image).unwrap().set_len(DISK_BYTES).unwrap();
        std::fs::create_dir(&directory).unwrap();
        let [image, mount_point] = [&image, &directory].map(|path| path.to_str().unwrap());
        // Nothing is kept back for root, who fills it.
        run("mkfs.ext4", &["-q", "-F", "-m", "0", image])?;
        run("mount", &["-t", "ext4", "-o", "loop", image, mount_point])?;
        Ok(Self { directory })
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    /// Takes every block that is left.
    fn fill(&self) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.filler()).unwrap();
        for size in [1 << 20, 64 << 10, 4096] {
            let zeros = vec![0; size];
            loop {
                match file.write_all(&zeros).and_then(|()| file.sync_all()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Busy for a moment after its server has ended: then it goes with the namespace.
        let directory = self.directory.to_str().expect("our own names are text");
        run("umount", &["--lazy", directory]).ok();
    }
}

fn no_space(error: &ClientError) -> bool {
    error.reply().and_then(ErrorReply::code) == Some(ErrorCode::NoSpace)
}

/// Takes several reservations from every counter: numbers, or the news that the disk is full.
fn take(client: &Client, oracle: &mut Oracle) {
    for (counter, _) in COUNTERS {
        for _ in 0..20 {
            match client.counter_take(counter, 200) {
                Ok(taken) => oracle.note(&Dealt::Numbers(counter, taken)),
                Err(error) => assert!(no_space(&error), "{counter}: {error}"),
            }
        }
    }
}

fn mint(address: &str, oracle: &mut Oracle) {
    let config = IdConfig { block: 100, low_water: 100, ..IdConfig::default() };
    let mut ids = IdSource::connect([address], config).unwrap();
    oracle.note(&Dealt::Ids(ids.next_many(1_000).unwrap().collect()));
}

/// Appends records of 100 KiB until the log takes no more. How many it took.
fn append_until_full(client: &Client) -> u32 {
    let config = ProducerConfig {
        linger: Duration::ZERO,
        delivery_timeout: Duration::from_secs(2),
        ..ProducerConfig::default()
    };
    let mut producer = client.producer("records", config).unwrap();
    let value = vec![7; 100 << 10];
    for taken in 0.. {
        if let Err(error) = producer.send(Record::new(&value)).unwrap().wait() {
            // The client has tried again until its time was up: it says why, lastly.
            assert!(error.to_string().contains("NoSpace"), "{error}");
            return taken;
        }
    }
    unreachable!("the disk is smaller than that")
}

fn try_create(client: &Client, counter: &str) -> Result<(), ClientError> {
    client.create_counter(counter, CounterConfig::default()).map(drop)
}

fn fill_and_go_on(disk: &SmallDisk) {
    let ports = Ports::reserve();
    let server = ServerProcess::start(&disk.directory, ports, 2);
    let (address, client) = (server.address(), connect(&server.address()));
    let mut oracle = Oracle::default();
    for (name, mode) in COUNTERS {
        let config = CounterConfig { mode, block: BLOCK, ..CounterConfig::default() };
        client.create_counter(name, config).unwrap();
    }
    let config = LogConfig { partitions: 1, segment_bytes: 1 << 20, ..LogConfig::default() };
    client.create_log("records", config).unwrap();
    take(&client, &mut oracle);
    mint(&address, &mut oracle);

    disk.fill();
    append_until_full(&client);
    disk.fill();
    take(&client, &mut oracle);
    mint(&address, &mut oracle);
    let error = try_create(&client, "one-more").unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
    client.ping().unwrap();
    server.kill();

    // A log that was not closed has to write an index to be opened, so a start needs some room.
    disk.make_room();
    let server = ServerProcess::start(&disk.directory, ports, 2);
    let client = connect(&address);
    disk.fill();
    take(&client, &mut oracle);
    mint(&address, &mut oracle);
    oracle.read(&client, "records");

    disk.make_room();
    take(&client, &mut oracle);
    mint(&address, &mut oracle);
    try_create(&client, "one-more").unwrap();
    oracle.note(&Dealt::Numbers("one-more", client.counter_take("one-more", 5).unwrap()));
    server.terminate();
}

#[test]
fn a_full_disk_is_told_and_nothing_comes_twice() {
    namespace::enter(TEST, UNTESTED, || {
        let place = tempfile::tempdir().unwrap();
        SmallDisk::try_new(place.path()).map(|disk| fill_and_go_on(&disk))
    });
}
