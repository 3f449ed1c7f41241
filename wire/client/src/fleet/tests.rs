//! The machine step by step.

use super::*;
use crate::directory::ClusterId;

const CLUSTER: ClusterId = ClusterId(9);
const MS: Duration = Duration::from_millis(1);
/// Hedge delay of a node that is not known yet.
const HEDGE_MAX_MS: u32 = 100;

/// A fleet of nodes 100, 101, .. that are connected, and its commands.
struct Bench {
    fleet: Fleet,
    now: Duration,
    commands: Vec<Command>,
}

impl Bench {
    /// Only dialling so far.
    fn dialling(members: usize) -> Self {
        let policy = Policy {
            block: 100,
            low_water: 100,
            lease_timeout: 2000 * MS,
            backoff: Backoff { min: 10 * MS, max: 1000 * MS },
        };
        let fleet = Fleet::new(policy, members, Rng::with_seed(7));
        let mut bench = Self { fleet, now: Duration::ZERO, commands: Vec::new() };
        bench.tell(Event::Tick);
        let dials = |index| Command::Connect { member: Member(index), connection: 1 };
        assert_eq!(bench.commands, (0..members).map(dials).collect::<Vec<_>>());
        bench.commands.clear();
        bench
    }

    /// Connected, and filled: nothing is under way.
    fn ready(members: usize) -> Self {
        let mut bench = Self::dialling(members);
        for index in 0..members {
            bench.connected(index, 1, 100 + index as u64);
        }
        let (attempt, member) = bench.sent();
        bench.dealt(attempt, slot_of(member), 0);
        assert_eq!(bench.stored(), 100);
        bench
    }

    fn tell(&mut self, event: Event) {
        self.fleet.handle(self.now, event, &mut self.commands);
    }

    fn at(&mut self, ms: u32) {
        self.now = ms * MS;
        self.tell(Event::Tick);
    }

    fn connected(&mut self, index: usize, connection: u64, node: u64) {
        let identity = Identity { node, cluster: CLUSTER };
        self.tell(Event::Connected { member: Member(index), connection, identity });
    }

    fn disconnected(&mut self, member: Member, connection: u64) {
        self.tell(Event::Disconnected { member, connection });
    }

    fn dealt(&mut self, attempt: Attempt, slot: u16, tick: u64) {
        let answer = Answer::Dealt(IdsDealt { slot, first_tick: tick, count: 100 });
        self.tell(Event::Answered { attempt, answer });
    }

    fn refused(&mut self, attempt: Attempt, reply: ErrorReply) {
        self.tell(Event::Answered { attempt, answer: Answer::Refused(reply) });
    }

    fn stock(&mut self, ids: u64, wanted: u64) {
        self.tell(Event::Stock { ids, wanted });
    }

    /// The one request that was sent.
    fn sent(&mut self) -> (Attempt, Member) {
        match self.commands[..] {
            [Command::Send { member, attempt, .. }] => {
                self.commands.clear();
                (attempt, member)
            }
            _ => panic!("not one request: {:?}", self.commands),
        }
    }

    /// The ids that were stored, and nothing else was done.
    fn stored(&mut self) -> u32 {
        let stored = self.commands.drain(..).map(|command| match command {
            Command::Store(block) => block.count(),
            other => panic!("{other:?}"),
        });
        stored.sum()
    }

    fn idle(&self) {
        assert_eq!(self.commands, []);
    }
}

fn slot_of(member: Member) -> u16 {
    u16::try_from(member.0).unwrap()
}

fn busy(ms: u64) -> ErrorReply {
    ErrorReply::from(ErrorCode::Busy).with_detail(ErrorDetail::RetryAfter { ms })
}

#[test]
fn a_block_ahead_is_leased_when_the_stock_falls_below_the_low_water() {
    let mut bench = Bench::ready(1);
    bench.stock(100, 0);
    bench.idle();
    assert_eq!(bench.fleet.due(), None, "nothing to wait for");
    bench.stock(99, 0);
    let (attempt, _) = bench.sent();
    bench.stock(0, 0);
    bench.idle();
    bench.dealt(attempt, 0, 100);
    assert_eq!(bench.stored(), 100);
}

#[test]
fn a_lease_is_as_large_as_what_is_waited_for() {
    let mut bench = Bench::ready(1);
    bench.stock(0, 70_000);
    let sent = std::mem::take(&mut bench.commands);
    assert!(matches!(sent[..], [Command::Send { count: 70_000, .. }]), "{sent:?}");
    bench.tell(Event::Answered { attempt: Attempt(1), answer: Answer::Lost });
    bench.stock(0, u64::MAX);
    bench.at(50);
    let sent = std::mem::take(&mut bench.commands);
    assert!(matches!(sent[..], [Command::Send { count: IDS_PER_REQUEST_MAX, .. }]), "{sent:?}");
}

#[test]
fn another_node_is_asked_at_once_after_a_refusal_and_the_first_rests() {
    let codes = [
        ErrorCode::WrongRole,
        ErrorCode::ClockAstray,
        ErrorCode::ShuttingDown,
        ErrorCode::Internal,
    ];
    for reply in codes.map(ErrorReply::from).into_iter().chain([busy(40)]) {
        let mut bench = Bench::ready(2);
        bench.stock(0, 0);
        let (attempt, first) = bench.sent();
        bench.refused(attempt, reply.clone());
        let (attempt, second) = bench.sent();
        assert_ne!(first, second, "{reply}");
        // The second refuses as well: nobody is left until one has rested.
        bench.refused(attempt, busy(20));
        bench.idle();
        let due = bench.fleet.due().unwrap();
        assert!(due > bench.now && due <= 30 * MS, "{due:?} after {reply}");
    }
}

#[test]
fn a_node_that_asks_for_time_gets_it_but_not_for_ever() {
    let mut bench = Bench::ready(1);
    bench.stock(0, 0);
    let (attempt, _) = bench.sent();
    bench.refused(attempt, busy(400));
    bench.at(399);
    bench.idle();
    bench.at(400);
    let (attempt, _) = bench.sent();
    bench.refused(attempt, busy(u64::MAX));
    assert_eq!(bench.fleet.due(), Some(400 * MS + RETRY_AFTER_MAX));
}

#[test]
fn a_node_that_failed_is_asked_for_one_block_before_it_is_trusted() {
    let mut bench = Bench::ready(1);
    bench.stock(0, 0);
    let (attempt, _) = bench.sent();
    bench.refused(attempt, ErrorCode::Internal.into());
    bench.at(10);
    let (probe, _) = bench.sent();
    let until = 5000 * MS;
    for ticket in 0..3 {
        bench.tell(Event::Fresh { ticket: Ticket(ticket), count: 100, until });
    }
    bench.idle();
    bench.dealt(probe, 0, 100);
    let sends = bench.commands.iter().filter(|c| matches!(c, Command::Send { .. })).count();
    assert_eq!(sends, 3, "all at once: {:?}", bench.commands);
}

#[test]
fn a_lease_goes_to_a_second_node_after_the_usual_time_of_the_first_and_both_answers_serve() {
    let mut bench = Bench::ready(2);
    bench.stock(0, 0);
    let (first, one) = bench.sent();
    let due = bench.fleet.due().unwrap();
    assert_eq!(due, HEDGE_MAX_MS * MS, "not known yet");
    bench.at(HEDGE_MAX_MS);
    let (second, other) = bench.sent();
    assert_ne!(one, other);
    bench.dealt(second, slot_of(other), 500);
    assert_eq!(bench.stored(), 100);
    bench.dealt(first, slot_of(one), 500);
    assert_eq!(bench.stored(), 100, "the late answer is used too");
    bench.dealt(first, slot_of(one), 500);
    bench.idle();
}

#[test]
fn a_known_node_is_hedged_after_its_own_p99() {
    let mut bench = Bench::ready(1);
    for lease in 1..=20_u32 {
        bench.stock(0, 0);
        let (attempt, _) = bench.sent();
        bench.at(lease * 5);
        bench.dealt(attempt, 0, u64::from(lease) * 100);
        assert_eq!(bench.stored(), 100);
    }
    bench.stock(0, 0);
    let (_, member) = bench.sent();
    assert_eq!(bench.fleet.nodes[member.0].latencies.hedge_delay(), 5 * MS);
    assert_eq!(bench.fleet.due(), Some(105 * MS));
    bench.at(105);
    bench.idle();
    assert!(bench.fleet.due().unwrap() > bench.now, "there is no second node: it must not spin");
}

#[test]
fn two_hedges_are_the_most_and_the_second_waits_twice_as_long() {
    let mut bench = Bench::ready(4);
    bench.stock(0, 0);
    bench.sent();
    bench.at(100);
    bench.sent();
    bench.at(299);
    bench.idle();
    bench.at(300);
    bench.sent();
    bench.at(1999);
    bench.idle();
}

#[test]
fn a_node_that_owes_an_answer_for_too_long_is_connected_to_again() {
    let mut bench = Bench::ready(1);
    bench.stock(0, 0);
    let (lost, member) = bench.sent();
    bench.at(2000);
    assert_eq!(bench.commands, [Command::Reset { member, connection: 1 }]);
    bench.commands.clear();
    // Its end is told later and counts once.
    bench.disconnected(member, 1);
    bench.at(2010);
    assert_eq!(bench.commands, [Command::Connect { member, connection: 2 }]);
    bench.commands.clear();
    bench.disconnected(member, 1);
    bench.idle();
    bench.connected(0, 2, 100);
    let (attempt, _) = bench.sent();
    bench.dealt(lost, 0, 300);
    bench.idle();
    bench.dealt(attempt, 0, 400);
    assert_eq!(bench.stored(), 100);
}

#[test]
fn a_lost_connection_moves_its_leases_to_another_node() {
    let mut bench = Bench::ready(2);
    bench.stock(0, 0);
    let (_, first) = bench.sent();
    bench.disconnected(first, 1);
    let (attempt, second) = bench.sent();
    assert_ne!(first, second);
    bench.dealt(attempt, slot_of(second), 800);
    assert_eq!(bench.stored(), 100);
    assert_eq!(bench.fleet.connected(), 1);
}

#[test]
fn an_answer_that_is_no_block_is_not_believed() {
    let wrong = [
        IdsDealt { slot: 1024, first_tick: 0, count: 100 },
        IdsDealt { slot: 0, first_tick: 1 << 54, count: 100 },
        IdsDealt { slot: 0, first_tick: (1 << 54) - 99, count: 100 },
        IdsDealt { slot: 0, first_tick: 0, count: 101 },
    ];
    for dealt in wrong {
        let mut bench = Bench::ready(1);
        bench.stock(0, 0);
        let (attempt, _) = bench.sent();
        bench.tell(Event::Answered { attempt, answer: Answer::Dealt(dealt) });
        bench.idle();
        assert_eq!(bench.fleet.due(), Some(MISFIT_REST), "{dealt:?}");
    }
}

#[test]
fn fresh_ids_go_to_the_one_who_asked_and_what_comes_late_is_stock() {
    let mut bench = Bench::ready(2);
    bench.stock(100, 0);
    let (ticket, until) = (Ticket(5), 5000 * MS);
    bench.tell(Event::Fresh { ticket, count: 100, until });
    let (first, one) = bench.sent();
    bench.at(100);
    let (second, other) = bench.sent();
    bench.dealt(second, slot_of(other), 900);
    let delivered = std::mem::take(&mut bench.commands);
    assert!(matches!(delivered[..], [Command::Deliver(to, _)] if to == ticket), "{delivered:?}");
    bench.dealt(first, slot_of(one), 900);
    assert_eq!(bench.stored(), 100);
}

#[test]
fn who_waits_for_fresh_ids_is_told_when_time_is_up() {
    let mut bench = Bench::dialling(1);
    let ticket = Ticket(1);
    bench.tell(Event::Fresh { ticket, count: 1, until: 50 * MS });
    assert_eq!(bench.fleet.due(), Some(50 * MS));
    bench.at(50);
    assert_eq!(bench.commands, [Command::Expire(ticket)]);
    assert_eq!(bench.fleet.fresh(), 0);
}

#[test]
fn two_nodes_that_deal_from_one_slot_end_it_with_both_names() {
    let mut bench = Bench::ready(2);
    bench.stock(0, 0);
    // The first lease came from slot 0 of one of them.
    let (attempt, member) = bench.sent();
    bench.refused(attempt, ErrorCode::Internal.into());
    let (attempt, other) = bench.sent();
    bench.dealt(attempt, 7, 0);
    bench.commands.clear();
    bench.stock(0, 0);
    bench.at(20);
    let (attempt, asked) = bench.sent();
    let thief = if asked == other {
        bench.refused(attempt, ErrorCode::Internal.into());
        let (attempt, thief) = bench.sent();
        bench.dealt(attempt, 7, 100);
        thief
    } else {
        bench.dealt(attempt, 7, 100);
        asked
    };
    assert_eq!(thief, member);
    let claim = |member: Member| Claim {
        member,
        identity: Identity { node: 100 + member.0 as u64, cluster: CLUSTER },
    };
    let conflict =
        Conflict::Slot { slot: Slot::new(7).unwrap(), first: claim(other), second: claim(thief) };
    assert_eq!(bench.commands, [Command::Fail(conflict)]);
    bench.commands.clear();
    bench.stock(0, 1000);
    bench.at(9000);
    bench.idle();
    assert_eq!(bench.fleet.due(), None);
}

#[test]
fn a_successor_at_the_same_address_goes_on_with_the_slot_but_not_back() {
    for (tick, goes_on) in [(100, true), (99, false)] {
        let mut bench = Bench::ready(1);
        bench.disconnected(Member(0), 1);
        bench.at(10);
        bench.commands.clear();
        bench.connected(0, 2, 555);
        bench.stock(0, 0);
        let (attempt, _) = bench.sent();
        bench.dealt(attempt, 0, tick);
        assert_eq!(matches!(bench.commands[..], [Command::Store(_)]), goes_on, "tick {tick}");
        assert_eq!(matches!(bench.commands[..], [Command::Fail(_)]), !goes_on, "tick {tick}");
    }
}

#[test]
fn several_shards_of_one_node_may_deal_from_one_slot() {
    let mut bench = Bench::dialling(2);
    bench.connected(0, 1, 100);
    bench.connected(1, 1, 100);
    let (attempt, _) = bench.sent();
    bench.dealt(attempt, 3, 0);
    bench.stock(0, 0);
    bench.commands.clear();
    bench.at(100);
    let (hedge, _) = bench.sent();
    bench.dealt(hedge, 3, 100);
    assert_eq!(bench.stored(), 100);
}

#[test]
fn a_node_of_another_cluster_ends_it() {
    let mut bench = Bench::ready(2);
    bench.disconnected(Member(1), 1);
    bench.at(10);
    bench.commands.clear();
    let identity = Identity { node: 101, cluster: ClusterId(8) };
    bench.tell(Event::Connected { member: Member(1), connection: 2, identity });
    let [Command::Fail(Conflict::Clusters { first, second })] = bench.commands[..] else {
        panic!("{:?}", bench.commands);
    };
    assert_eq!((first.identity.cluster, second.identity.cluster), (CLUSTER, ClusterId(8)));
    assert_eq!((first.member, second.member), (Member(0), Member(1)));
}
