//! What the small server knows of ids and counters, and what goes wrong there next.

use std::collections::{BTreeMap, VecDeque};

use pyralog_client::{CounterConfig, CounterInfo, ErrorCode, ErrorDetail, ErrorReply};
use pyralog_wire::message::{CounterPage, IdsDealt, NumbersTaken};
use pyralog_wire::{Request, Response};

use super::{Deed, Fault, Manners};

#[derive(Debug)]
pub(super) struct Sequences {
    slot: u16,
    next_tick: u64,
    /// Requests for ids.
    pub(super) deals: u64,
    counters: BTreeMap<String, (CounterConfig, u64)>,
    pub(super) deal_faults: VecDeque<Fault>,
    pub(super) take_faults: VecDeque<Fault>,
}

impl Sequences {
    pub(super) fn new(manners: Manners) -> Self {
        Self {
            slot: manners.slot,
            next_tick: 5 << 13,
            deals: 0,
            counters: BTreeMap::new(),
            deal_faults: manners.deal_faults.iter().copied().collect(),
            take_faults: manners.take_faults.iter().copied().collect(),
        }
    }

    /// All counters begin anew.
    pub(super) fn forget(&mut self) {
        self.counters.values_mut().for_each(|(_, last)| *last = 0);
    }

    /// Carries out what is about ids or counters.
    pub(super) fn carry(&mut self, request: &Request) -> Deed {
        let response = match request {
            Request::DealIds(deal) => {
                self.deals += 1;
                let fault = self.deal_faults.pop_front();
                return faulty(fault, || {
                    let (slot, first_tick) = (self.slot, self.next_tick);
                    self.next_tick += u64::from(deal.count);
                    Response::DealIds(IdsDealt { slot, first_tick, count: deal.count })
                });
            }
            Request::TakeNumbers(take) => {
                let fault = self.take_faults.pop_front();
                let Some((_, last)) = self.counters.get_mut(&take.name) else { return unknown() };
                return faulty(fault, || {
                    let first = *last + 1;
                    *last += u64::from(take.count);
                    Response::TakeNumbers(NumbersTaken { first, count: take.count })
                });
            }
            Request::CreateCounter(create) => {
                let new = (create.config, 0);
                let (config, _) = *self.counters.entry(create.name.clone()).or_insert(new);
                if config != create.config {
                    return Deed::Refuse(ErrorCode::CounterExists.into());
                }
                Response::CreateCounter(self.info(&create.name))
            }
            Request::DescribeCounter(describe) if self.counters.contains_key(&describe.name) => {
                Response::DescribeCounter(self.info(&describe.name))
            }
            Request::RaiseCounter(raise) => {
                let Some((_, last)) = self.counters.get_mut(&raise.name) else { return unknown() };
                *last = raise.value.max(*last);
                Response::RaiseCounter(self.info(&raise.name))
            }
            Request::ListCounters(list) => {
                // Pages of one.
                let mut names = self.counters.keys().filter(|name| {
                    name.starts_with(&list.prefix) && (list.after.is_empty() || **name > list.after)
                });
                let counters = names.next().map(|name| self.info(name)).into_iter().collect();
                let more = names.next().is_some();
                Response::ListCounters(CounterPage { counters, more })
            }
            _ => return unknown(),
        };
        Deed::Answer(response, Vec::new())
    }

    fn info(&self, name: &str) -> CounterInfo {
        let (config, last) = self.counters[name];
        CounterInfo {
            name: name.to_owned(),
            config,
            shard: 0,
            last,
            durable: last,
            generation: 0,
            stride: 1 << 43,
            disk_bytes: 4096,
            problem: String::new(),
        }
    }
}

fn unknown() -> Deed {
    Deed::Refuse(ErrorCode::UnknownCounter.into())
}

/// Does it, or not, as the fault says.
fn faulty(fault: Option<Fault>, deal: impl FnOnce() -> Response) -> Deed {
    match fault {
        None => Deed::Answer(deal(), Vec::new()),
        Some(Fault::CloseBefore) => Deed::Close,
        Some(Fault::Refuse(code)) => Deed::Refuse(code.into()),
        Some(Fault::Busy(ms)) => {
            let detail = ErrorDetail::RetryAfter { ms };
            Deed::Refuse(ErrorReply::from(ErrorCode::Busy).with_detail(detail))
        }
        Some(Fault::CloseAfter) => {
            deal();
            Deed::Close
        }
        Some(Fault::Swallow) => {
            deal();
            Deed::Nothing
        }
        Some(other) => panic!("{other:?}"),
    }
}
