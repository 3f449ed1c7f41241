//! A message to another core and back.

use std::sync::mpsc;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use pyralog_runtime::mesh::{Inbox, Lanes, Mesh, Origin};
use pyralog_runtime::{MachineConfig, Pin, limits, start, time};

/// A message: one line of cache.
type Message = [u64; 8];

/// From the outside: go there and back so many times. Between the cores: a message, or the end.
const END: u64 = u64::MAX;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lane round trip");
    group.throughput(Throughput::Elements(1));
    for (name, spin) in
        [("cores sleep", Duration::ZERO), ("cores spin 50 us", Duration::from_micros(50))]
    {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| round_trips(times, spin));
        });
    }
    group.finish();
}

/// How long `times` round trips take, on a machine of their own.
fn round_trips(times: u64, spin: Duration) -> Duration {
    let config = MachineConfig {
        shards: 2,
        pin: Pin::Auto,
        spin,
        buffer_bytes: limits::BUFFER_BYTES_MIN,
        ..MachineConfig::default()
    };
    let mesh = Mesh::<Message>::new(2, 4);
    let (sender, receiver) = mpsc::channel();
    let machine = start(&config, move |core| {
        let ((lanes, inbox), sender) = (mesh.join(&core), sender.clone());
        async move {
            if core.shard == 0 {
                sender.send(ask(&lanes, inbox, times).await).unwrap();
                core.stopper().stop();
            } else {
                answer(&lanes, inbox).await;
                core.stopping().await;
            }
        }
    });
    machine.unwrap().join().unwrap();
    receiver.try_recv().unwrap()
}

async fn ask(lanes: &Lanes<Message>, mut inbox: Inbox<Message>, times: u64) -> Duration {
    let mut messages: Vec<(Origin, Message)> = Vec::new();
    // The first one waits until the other core runs.
    lanes.send(1, [0; 8]).await.unwrap();
    inbox.recv_many(&mut messages).await;
    let began = time::now();
    for _ in 0..times {
        messages.clear();
        lanes.send(1, [0; 8]).await.unwrap();
        inbox.recv_many(&mut messages).await;
    }
    let elapsed = time::now().since(began);
    lanes.send(1, [END; 8]).await.unwrap();
    elapsed
}

async fn answer(lanes: &Lanes<Message>, mut inbox: Inbox<Message>) {
    let mut messages = Vec::new();
    loop {
        inbox.recv_many(&mut messages).await;
        for (_, message) in messages.drain(..) {
            if message[0] == END {
                return;
            }
            lanes.send(0, message).await.unwrap();
        }
    }
}
