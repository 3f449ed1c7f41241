//! What pairs may and may not show.

use quickcheck::{Arbitrary, Gen, TestResult, quickcheck};

use super::{PAIRS_MAX, PAIRS_MIN, Paired, Shown, level, median, quartiles, signed_rank, spread};

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0)
}

/// Pairs of positive numbers of every magnitude that a measurement has.
#[derive(Clone, Debug)]
struct Pairs(Vec<(f64, f64)>);

impl Arbitrary for Pairs {
    fn arbitrary(g: &mut Gen) -> Self {
        let mut one = |_| {
            let mantissa = f64::from(u16::arbitrary(g)) + 1.0;
            mantissa * 10_f64.powi(i32::from(u8::arbitrary(g) % 9))
        };
        let count = usize::from(u8::arbitrary(&mut Gen::new(16)) % 14 + 1);
        Self((0..count).map(|at| (one(at), one(at))).collect())
    }
}

#[test]
fn median_is_the_middle_or_the_mean_of_the_middle_two() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0]), Some(3.0));
    assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
    assert_eq!(median(&[9.0, 1.0, 5.0, 2.0]), Some(3.5));
}

#[test]
fn quartiles_lie_between_neighbours() {
    assert_eq!(quartiles(&[]), None);
    assert_eq!(quartiles(&[4.0]), Some((4.0, 4.0)));
    assert_eq!(quartiles(&[5.0, 1.0, 3.0, 2.0, 4.0]), Some((2.0, 4.0)));
    assert_eq!(quartiles(&[1.0, 2.0, 3.0, 4.0]), Some((1.75, 3.25)));
}

#[test]
fn spread_is_half_the_quartile_distance_as_a_share_of_the_median() {
    assert_eq!(spread(&[100.0]), None);
    assert_eq!(spread(&[-1.0, 0.0, 1.0]), None);
    assert_eq!(spread(&[90.0, 100.0, 110.0]), Some(0.05));
}

/// The distribution of the smaller rank sum for three values is 0, 1, 2, 3, 3, .. of 8; the published tables agree.
#[test]
fn signed_rank_p_is_that_of_the_published_tables() {
    for (differences, p) in [
        (vec![], 1.0),
        (vec![0.0, 0.0], 1.0),
        (vec![1.0, 2.0, 3.0], 0.25),
        (vec![1.0, 2.0, 3.0, 4.0, 5.0], 0.0625),
        (vec![-1.0, 2.0, 3.0, 4.0, 5.0], 0.125),
        (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.03125),
        // n = 10 and a smaller rank sum of 8: the table's critical value for 0.05, exactly 50 / 1024.
        (vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -8.0, 9.0, 10.0], 50.0 / 1024.0),
        // Two equal ones share the rank 1.5: sums 0, 1.5, 1.5, 3, 3, .. of 8.
        (vec![1.0, -1.0, 3.0], 0.75),
        // Ranks 1.5, 1.5, 3 and 4: six of sixteen sums are at most 4.
        (vec![1.0, 1.0, 2.0, -3.0], 0.75),
    ] {
        assert!(
            near(signed_rank(&differences), p),
            "{differences:?}: {}",
            signed_rank(&differences)
        );
    }
}

#[test]
fn four_pairs_claim_nothing_however_far_apart() {
    let compared = Paired::of(&[(1.0, 100.0); PAIRS_MIN - 1]).unwrap();
    assert_eq!(compared.shows(), Shown::TooFew);
}

#[test]
fn five_pairs_that_all_agree_show_a_difference_and_one_that_does_not_prevents_it() {
    let faster = [(1.0, 1.1), (1.0, 1.2), (1.0, 1.3), (1.0, 1.15), (1.0, 1.25)];
    let compared = Paired::of(&faster).unwrap();
    assert_eq!(compared.shows(), Shown::Larger);
    assert!(near(compared.ratio, 1.2) && near(compared.low, 1.1) && near(compared.high, 1.3));

    let mut mixed = faster;
    mixed[0].1 = 0.99;
    assert_eq!(Paired::of(&mixed).unwrap().shows(), Shown::Nothing);
    assert_eq!(Paired::of(&faster.map(|(a, b)| (b, a))).unwrap().shows(), Shown::Smaller);
}

/// The ranks alone are far from chance here, yet nearly half of the pairs did not move: the interval ends at 1.
#[test]
fn an_interval_that_reaches_one_prevents_a_claim() {
    let mut pairs = vec![(1.0, 1.0); 6];
    pairs.extend([(1.0, 1.5); 7]);
    let compared = Paired::of(&pairs).unwrap();
    assert!(compared.p < level(pairs.len()) && compared.ratio > 1.4, "{compared:?}");
    assert_eq!(compared.shows(), Shown::Nothing);
    let exchanged: Vec<_> = pairs.iter().map(|&(a, b)| (b, a)).collect();
    assert_eq!(Paired::of(&exchanged).unwrap().shows(), Shown::Nothing);
}

/// Seven pairs are a little faster and one is a hundred times slower: the median is sure, the ranks are not.
#[test]
fn ranks_that_may_be_chance_prevent_a_claim() {
    let mut pairs: Vec<_> = (1..8).map(|at| (1.0, 1.0 + 0.01 * f64::from(at))).collect();
    pairs.push((100.0, 1.0));
    let compared = Paired::of(&pairs).unwrap();
    assert!(compared.low > 1.0 && compared.p > level(pairs.len()), "{compared:?}");
    assert_eq!(compared.shows(), Shown::Nothing);
}

#[test]
fn numbers_that_have_no_ratio_are_not_compared() {
    assert_eq!(Paired::of(&[]), None);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(Paired::of(&[(1.0, 1.0), (1.0, bad)]), None);
        assert_eq!(Paired::of(&[(bad, 1.0)]), None);
    }
}

#[test]
fn more_pairs_than_the_limit_are_cut() {
    assert_eq!(Paired::of(&vec![(1.0, 2.0); PAIRS_MAX + 1]).unwrap().pairs, PAIRS_MAX);
}

/// The promise of the interval, on a hundred comparisons of eight noisy pairs whose true ratio is 1: few claims.
#[test]
fn no_difference_is_claimed_about_as_rarely_as_promised() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut noisy = || 1.0 + 0.2 * (rng.f64() + rng.f64() + rng.f64() - 1.5);
    let claims = (0..100)
        .filter(|_| {
            let pairs: Vec<_> = (0..8).map(|_| (noisy(), noisy())).collect();
            !matches!(Paired::of(&pairs).unwrap().shows(), Shown::Nothing)
        })
        .count();
    assert!((0..=12).contains(&claims), "{claims} of 100");
}

quickcheck! {
    fn interval_holds_the_median_and_p_is_a_chance(pairs: Pairs) -> bool {
        let compared = Paired::of(&pairs.0).unwrap();
        compared.low <= compared.ratio
            && compared.ratio <= compared.high
            && (0.0..=1.0).contains(&compared.p)
    }

    fn exchanging_the_sides_gives_the_reciprocal(pairs: Pairs) -> bool {
        let there = Paired::of(&pairs.0).unwrap();
        let exchanged: Vec<_> = pairs.0.iter().map(|&(a, b)| (b, a)).collect();
        let back = Paired::of(&exchanged).unwrap();
        near(there.ratio * back.ratio, 1.0)
            && near(there.low * back.high, 1.0)
            && near(there.high * back.low, 1.0)
            && near(there.p, back.p)
    }

    fn a_side_compared_with_itself_has_ratio_one_and_shows_nothing(pairs: Pairs) -> bool {
        let same: Vec<_> = pairs.0.iter().map(|&(a, _)| (a, a)).collect();
        let compared = Paired::of(&same).unwrap();
        (compared.ratio, compared.low, compared.high, compared.p) == (1.0, 1.0, 1.0, 1.0)
            && matches!(compared.shows(), Shown::Nothing | Shown::TooFew)
    }

    fn multiplying_the_second_side_multiplies_the_ratio(pairs: Pairs, factor: u8) -> TestResult {
        if factor == 0 {
            return TestResult::discard();
        }
        let factor = f64::from(factor);
        let scaled: Vec<_> = pairs.0.iter().map(|&(a, b)| (a, b * factor)).collect();
        let (plain, times) = (Paired::of(&pairs.0).unwrap(), Paired::of(&scaled).unwrap());
        TestResult::from_bool(near(plain.ratio * factor, times.ratio))
    }
}
