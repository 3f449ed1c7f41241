//! The nemesis: strikes the world with the faults that a scenario allows, and stops on request.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use pyralog_runtime::rng::Rng;
use pyralog_runtime::sim::{Crash, DiskFaults, NetFaults, NodeId, Simulation};

use crate::files::{Duty, class};
use crate::history::End;
use crate::scenario::{Fault, Scenario, below};
use crate::server::{Server, State};
use crate::steps::Step;
use crate::store::StoreFaults;

const MS: u64 = 1_000_000;

/// See the module.
pub struct Nemesis {
    sim: Rc<Simulation>,
    rng: Rng,
    scenario: Scenario,
    server: NodeId,
    clients: Vec<NodeId>,
    /// When the server is started again after its end.
    boot_at: Option<Duration>,
    /// What was cut, and until when.
    cuts: Vec<(NodeId, NodeId, Duration)>,
    full_until: Option<Duration>,
    limited_until: Option<Duration>,
}

impl Nemesis {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(
        sim: &Rc<Simulation>,
        scenario: &Scenario,
        server: NodeId,
        clients: &[NodeId],
    ) -> Self {
        Self {
            sim: Rc::clone(sim),
            rng: Rng::with_seed(scenario.seed ^ 0x6e65_6d65_7369_7321),
            scenario: scenario.clone(),
            server,
            clients: clients.to_vec(),
            boot_at: None,
            cuts: Vec::new(),
            full_until: None,
            limited_until: None,
        }
    }

    /// Sets what fails at random from now on.
    pub fn begin(&mut self, server: &Server) {
        let rate = |fault: Fault, rate: u32| if self.scenario.has(fault) { rate } else { 0 };
        self.sim.set_disk_faults(
            self.server,
            DiskFaults {
                short_write: rate(Fault::ShortTransfers, 30_000),
                short_read: rate(Fault::ShortTransfers, 30_000),
                write_error: rate(Fault::WriteError, 1_000),
                read_error: rate(Fault::ReadError, 2_000),
                sync_error: rate(Fault::SyncError, 1_000),
                bit_rot: rate(Fault::BitRot, 2_000),
                misdirected: rate(Fault::Misdirected, 2_000),
                lost_write: rate(Fault::LostWrite, 2_000),
                slow: rate(Fault::SlowDisk, 5_000),
            },
        );
        self.sim.set_net_faults(NetFaults {
            delayed: rate(Fault::NetDelay, 10_000),
            delayed_max: 2_000 * MS,
            reset: rate(Fault::NetReset, 4_000),
            connect_failed: rate(Fault::ConnectFail, 200_000),
            short_read: rate(Fault::ShortTransfers, 200_000),
            short_write: rate(Fault::ShortTransfers, 200_000),
            ..NetFaults::default()
        });
        if let Some(store) = server.store() {
            let (errors, lies) = (rate(Fault::StoreErrors, 60_000), rate(Fault::StoreLies, 60_000));
            store.set_faults(StoreFaults { errors, lies });
        }
        if self.scenario.has(Fault::ClockSkew) {
            for node in self.nodes() {
                let ppm = i64::try_from(self.rng.below(4_000)).unwrap_or(0) - 2_000;
                self.sim.skew_clock(node, ppm);
                if node != self.server && self.rng.below(2) == 0 {
                    let by_us = self.leap();
                    self.sim.jump_clock(node, by_us);
                }
            }
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        std::iter::once(self.server).chain(self.clients.iter().copied()).collect()
    }

    /// How long the world may go on before the nemesis is asked again.
    pub fn pause(&mut self) -> Duration {
        // Mostly moments, sometimes long enough for everything to calm down.
        let most = if self.rng.below(6) == 0 { 1_000_000 } else { 100_000 };
        Duration::from_micros(1 + self.rng.below(most))
    }

    /// Does what is due, and perhaps something new.
    pub fn act(&mut self, server: &mut Server) {
        let now = self.sim.now();
        self.end_what_is_over(now);
        if server.state() == State::Down {
            self.start_again(now, server);
        }
        if self.rng.below(2) > 0 {
            return;
        }
        let faults: Vec<_> =
            self.scenario.faults.iter().copied().filter(|fault| is_a_strike(*fault)).collect();
        if faults.is_empty() {
            return;
        }
        let fault = faults[self.index(faults.len())];
        self.strike(now, fault, server);
    }

    fn end_what_is_over(&mut self, now: Duration) {
        let over: Vec<_> = self.cuts.iter().copied().filter(|cut| cut.2 <= now).collect();
        self.cuts.retain(|cut| cut.2 > now);
        for (from, to, _) in over {
            if !self.cuts.iter().any(|cut| (cut.0, cut.1) == (from, to)) {
                self.sim.heal(from, to);
            }
        }
        if self.full_until.is_some_and(|until| until <= now) {
            self.full_until = None;
            self.sim.set_disk_capacity(self.server, None);
        }
        if self.limited_until.is_some_and(|until| until <= now) {
            self.limited_until = None;
            self.sim.set_file_size_limit(self.server, None);
        }
    }

    fn start_again(&mut self, now: Duration, server: &mut Server) {
        let at = *self.boot_at.get_or_insert(now + Duration::from_millis(self.rng.below(150)));
        if now >= at {
            self.boot_at = None;
            // What rots while nothing runs is found by recovery first.
            if self.scenario.has(Fault::BitRot) && self.rng.below(3) == 0 {
                self.rot(server);
            }
            if self.rng.below(2) == 0 {
                server.answer_for_marks();
            }
            let shards = self.shards();
            server.boot(shards);
        }
    }

    /// The number of cores of the next life.
    fn shards(&mut self) -> usize {
        if self.scenario.has(Fault::OtherShards) { 1 + self.index(4) } else { self.scenario.shards }
    }

    fn strike(&mut self, now: Duration, fault: Fault, server: &mut Server) {
        match fault {
            Fault::Kill => server.kill(),
            Fault::PowerLoss => server.lose_power(),
            Fault::PowerLossBetweenCalls => server.die_after(self.rng.below(60), End::Power),
            Fault::KillBetweenCalls => server.die_after(self.rng.below(60), End::Process),
            Fault::DeathInStep => {
                let end = if self.rng.below(2) == 0 { End::Power } else { End::Process };
                let step = Step::ALL[self.index(Step::ALL.len())];
                if self.rng.below(4) == 0 {
                    server.live_on(); // It may wait for what never happens.
                }
                server.die_in(step, self.rng.below(8), end);
            }
            Fault::Restart | Fault::OtherShards => server.stop(),
            Fault::Wipe => {
                if self.rng.below(3) == 0 {
                    server.wipe();
                }
            }
            Fault::Pause => {
                let pause = self.a_while(3_000);
                self.sim.pause(self.server, pause);
            }
            Fault::PauseClient => {
                let client = self.client();
                let pause = self.a_while(5_000);
                self.sim.pause(client, pause);
            }
            Fault::ClockJump | Fault::ClockLeap | Fault::OtherHost | Fault::TakeOver => {
                self.strike_clock(fault, server);
            }
            Fault::CameBackShorter => {
                if self.rng.below(2) == 0 {
                    server.kill();
                }
                server.bring_back_shorter(&mut self.rng);
            }
            Fault::StoreAway => {
                let until = now + self.a_while(3_000);
                if let Some(store) = server.store() {
                    store.go_away(until);
                }
            }
            Fault::StoreRots => {
                if self.rng.below(3) == 0 {
                    server.rot_object(&mut self.rng);
                }
            }
            Fault::NetCut => self.cut(now),
            Fault::NoSpace => {
                // Blocks are reserved ahead: with little room it is found soon that there is none.
                let room = self.rng.below(2) * self.rng.below(2 << 20);
                let used = self.sim.used_space(self.server);
                self.sim.set_disk_capacity(self.server, Some(used + room));
                self.full_until = Some(now + self.a_while(2_000));
            }
            Fault::FileTooLarge => {
                // A low one stands in the way of writes into reserved blocks, a high one of making files.
                let most = if self.rng.below(2) == 0 { 16 } else { 400 };
                let limit = 4096 * (1 + self.rng.below(most));
                self.sim.set_file_size_limit(self.server, Some(limit));
                self.limited_until = Some(now + self.a_while(1_000));
            }
            Fault::BitRot => {
                if self.rng.below(3) == 0 {
                    self.rot(server);
                }
            }
            _ => unreachable!("{fault} strikes by itself"),
        }
    }

    /// What sets a clock wrong, by itself or because it is that of another machine.
    fn strike_clock(&mut self, fault: Fault, server: &mut Server) {
        match fault {
            Fault::ClockJump => {
                let nodes = self.nodes();
                let node = nodes[self.index(nodes.len())];
                let by_ms = i64::try_from(self.rng.below(20_000)).unwrap_or(0) - 10_000;
                self.sim.jump_clock(node, by_ms * 1_000);
                // Clients may say of their records what they like.
                if node == self.server {
                    server.clock_jumped(by_ms * 1_000);
                }
            }
            Fault::ClockLeap => {
                let by_us = self.leap();
                server.leap(by_us);
            }
            Fault::OtherHost => {
                if self.rng.below(2) == 0 {
                    server.lose_power();
                } else {
                    server.kill();
                }
                let by_us = if self.rng.below(4) == 0 { self.days() } else { self.leap() };
                server.leap(by_us);
            }
            Fault::TakeOver => {
                if self.rng.below(3) == 0 {
                    server.take_over();
                    let by_us = self.leap();
                    server.leap(by_us);
                }
            }
            _ => unreachable!("{fault} leaves clocks alone"),
        }
    }

    /// Microseconds: about an hour in either direction, on both sides of what is taken for an hour, or up to two.
    fn leap(&mut self) -> i64 {
        let ms = match self.rng.below(3) {
            0 => 3_600_000 + self.rng.below(20_000) - 10_000,
            1 => 3_000 + self.rng.below(60_000),
            _ => self.rng.below(7_200_000),
        };
        self.either_way(ms)
    }

    /// Microseconds: some weeks in either direction.
    fn days(&mut self) -> i64 {
        let ms = self.rng.below(45 * 86_400_000);
        self.either_way(ms)
    }

    fn either_way(&mut self, ms: u64) -> i64 {
        let us = i64::try_from(ms * 1_000).expect("some weeks");
        if self.rng.below(2) == 0 { us } else { -us }
    }

    /// Bits of some file rot.
    fn rot(&self, server: &mut Server) {
        server.look_at_manifests();
        let may = |path: &Path| class(path).silent != Duty::Exempt && server.may_rot(path);
        if let Some((path, bytes)) = self.sim.corrupt(self.server, &may) {
            server.rotted(&path, &bytes);
        }
    }

    /// Stops carrying one direction or both, once or over and over.
    fn cut(&mut self, now: Duration) {
        let client = self.client();
        let until = now + self.a_while(4_000);
        let way = self.rng.below(3);
        if way != 0 {
            self.sim.cut(client, self.server);
            self.cuts.push((client, self.server, until));
        }
        if way != 1 {
            self.sim.cut(self.server, client);
            self.cuts.push((self.server, client, until));
        }
    }

    fn client(&mut self) -> NodeId {
        let index = self.index(self.clients.len());
        self.clients[index]
    }

    fn index(&mut self, count: usize) -> usize {
        below(&mut self.rng, count)
    }

    /// Up to `most` milliseconds, mostly much less.
    fn a_while(&mut self, most: u64) -> Duration {
        let bound = if self.rng.below(3) == 0 { most } else { most / 20 + 1 };
        Duration::from_millis(1 + self.rng.below(bound))
    }

    /// Takes everything back that goes on: from here on nothing is broken on purpose.
    pub fn stop(&mut self, server: &mut Server) {
        // Mostly somebody looks after the clock; a server has to live with one that stays wrong as well.
        if self.rng.below(3) > 0 {
            server.set_clock_right();
        }
        self.sim.set_disk_faults(self.server, DiskFaults::default());
        self.sim.set_disk_capacity(self.server, None);
        self.sim.set_file_size_limit(self.server, None);
        self.sim.set_net_faults(NetFaults::default());
        if let Some(store) = server.store() {
            store.heal();
        }
        // A death that was ordered and has not come yet.
        server.live_on();
        self.sim.crash_after_calls(self.server, u64::MAX, Crash::Process);
        for (from, to, _) in std::mem::take(&mut self.cuts) {
            self.sim.heal(from, to);
        }
    }
}

/// Whether a fault is a deed. The others were set at the beginning and strike by themselves.
fn is_a_strike(fault: Fault) -> bool {
    !matches!(
        fault,
        Fault::ClockSkew
            | Fault::NetDelay
            | Fault::NetReset
            | Fault::ConnectFail
            | Fault::ShortTransfers
            | Fault::WriteError
            | Fault::ReadError
            | Fault::SyncError
            | Fault::SlowDisk
            | Fault::Misdirected
            | Fault::LostWrite
            | Fault::StoreErrors
            | Fault::StoreLies
    )
}
