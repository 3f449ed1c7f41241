//! Which cpu a core sits on.

use crate::machine::Pin;
use glommio::{CpuSet, Placement};
use std::io;
use std::time::Duration;

/// Where one core's thread may run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seat {
    /// On this cpu only.
    Fixed(usize),
    /// Wherever the process may.
    Free,
    /// On all cpus the process may use, said explicitly: glommio drops the spinning of an executor
    /// that is not bound to anything.
    Fenced(Vec<usize>),
}

impl Seat {
    pub(super) fn placement(&self) -> Placement {
        match self {
            Self::Fixed(cpu) => Placement::Fixed(*cpu),
            Self::Free => Placement::Unbound,
            Self::Fenced(cpus) => match CpuSet::online() {
                Ok(online) => Placement::Fenced(online.filter(|place| cpus.contains(&place.cpu))),
                // Without a readable topology the core only loses its spinning.
                Err(_) => Placement::Unbound,
            },
        }
    }
}

/// The CPUs on which no core sits, if every core has one of its own.
pub(crate) fn spare(seats: &[Seat], cpus: &[usize]) -> Vec<usize> {
    if !seats.iter().all(|seat| matches!(seat, Seat::Fixed(_))) {
        return Vec::new();
    }
    cpus.iter().copied().filter(|cpu| !seats.contains(&Seat::Fixed(*cpu))).collect()
}

/// The seats of `shards` cores on `cpus`, the cpus that the process may use, in ascending order.
///
/// # Errors
/// If a listed cpu is not allowed, or the list is shorter than the shards.
pub(crate) fn seats(
    pin: &Pin,
    shards: usize,
    cpus: &[usize],
    spin: Duration,
) -> io::Result<Vec<Seat>> {
    let invalid = |text: String| io::Error::new(io::ErrorKind::InvalidInput, text);
    match pin {
        Pin::Auto if shards <= cpus.len() => {
            Ok(cpus[..shards].iter().map(|cpu| Seat::Fixed(*cpu)).collect())
        }
        // Cores that share a cpu would spin in each other's way.
        Pin::Auto => Ok(vec![Seat::Free; shards]),
        Pin::None if spin.is_zero() || cpus.is_empty() => Ok(vec![Seat::Free; shards]),
        Pin::None => Ok(vec![Seat::Fenced(cpus.to_vec()); shards]),
        Pin::List(list) if list.len() < shards => {
            Err(invalid(format!("{} cpus listed for {shards} shards", list.len())))
        }
        Pin::List(list) => match list.iter().find(|cpu| !cpus.contains(cpu)) {
            Some(cpu) => Err(invalid(format!("cpu {cpu} is not one of those allowed: {cpus:?}"))),
            None => Ok(list[..shards].iter().map(|cpu| Seat::Fixed(*cpu)).collect()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(cpus: &[usize]) -> Vec<Seat> {
        cpus.iter().map(|cpu| Seat::Fixed(*cpu)).collect()
    }

    #[test]
    fn auto_pins_shard_i_on_the_ith_allowed_cpu() {
        let seats = seats(&Pin::Auto, 2, &[3, 5, 7], Duration::ZERO).unwrap();
        assert_eq!(seats, fixed(&[3, 5]));
    }

    #[test]
    fn auto_does_not_pin_more_shards_than_cpus() {
        let seats = seats(&Pin::Auto, 3, &[0, 1], Duration::from_micros(50)).unwrap();
        assert_eq!(seats, vec![Seat::Free; 3]);
    }

    #[test]
    fn unpinned_cores_that_spin_are_fenced_to_every_allowed_cpu() {
        let spin = Duration::from_micros(50);
        assert_eq!(seats(&Pin::None, 1, &[0, 1], spin).unwrap(), vec![Seat::Fenced(vec![0, 1])]);
        assert_eq!(seats(&Pin::None, 1, &[0, 1], Duration::ZERO).unwrap(), vec![Seat::Free]);
    }

    #[test]
    fn what_no_core_sits_on_is_spare_and_nothing_if_cores_float() {
        assert_eq!(spare(&fixed(&[3, 5]), &[1, 3, 5, 7]), [1, 7]);
        assert_eq!(spare(&fixed(&[3, 5]), &[3, 5]), [0; 0]);
        assert_eq!(spare(&[Seat::Free], &[3, 5]), [0; 0]);
    }

    #[test]
    fn list_must_be_long_enough_and_allowed() {
        assert_eq!(seats(&Pin::List(vec![1]), 1, &[0, 1], Duration::ZERO).unwrap(), fixed(&[1]));
        assert!(seats(&Pin::List(vec![1]), 2, &[0, 1], Duration::ZERO).is_err());
        assert!(seats(&Pin::List(vec![9]), 1, &[0, 1], Duration::ZERO).is_err());
    }
}
