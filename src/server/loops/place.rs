//! Which loop a new connection goes to.
//!
//! A connection stays where it was put, and what it will ask for is not known: so it goes to the loop that has least
//! to do now. Connections that came since the loops were last looked at have not shown yet what they ask for; each
//! counts for as much as a connection has on average.

use crate::metrics::LoopLoad;

/// Loops whose shares of busy time differ by less, of 1000, have as much to do.
const ALIKE_PERMILLE: u32 = 100;

/// What is known of a loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The share of the last second that it was busy, of 1000.
    pub(super) busy_permille: u32,
    /// Its open connections.
    pub(super) connections: usize,
    /// Those of them that came since that second.
    pub(super) placed: usize,
}

impl Seen {
    pub(super) fn of(load: &LoopLoad) -> Self {
        Self { busy_permille: load.busy_permille(), connections: load.connections(), placed: load.placed() }
    }
}

/// The number of the loop that has least to do; of those that have as much, the one with the fewest connections.
/// 0 where there are no loops.
pub(super) fn least_loaded(loops: &[Seen]) -> usize {
    let settled: usize = loops.iter().map(|it| it.connections.saturating_sub(it.placed)).sum();
    let busy: u32 = loops.iter().map(|it| it.busy_permille).sum();
    let each = u32::try_from(settled).ok().and_then(|settled| busy.checked_div(settled)).unwrap_or_default();
    let expected = |it: &Seen| {
        let placed = u32::try_from(it.placed).unwrap_or(u32::MAX);
        it.busy_permille.saturating_add(placed.saturating_mul(each))
    };
    let least = loops.iter().map(expected).min().unwrap_or_default();
    let alike =
        loops.iter().enumerate().filter(|(_, it)| expected(it) < least.saturating_add(ALIKE_PERMILLE));
    alike.min_by_key(|(_, it)| it.connections).map_or(0, |(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(busy_permille: u32, connections: usize, placed: usize) -> Seen {
        Seen { busy_permille, connections, placed }
    }

    #[test]
    fn idle_loops_get_connections_in_turn() {
        let mut loops = [Seen::default(); 3];
        let mut order = Vec::new();
        for _ in 0..7 {
            let number = least_loaded(&loops);
            loops[number].connections += 1;
            loops[number].placed += 1;
            order.push(number);
        }
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
        assert_eq!(least_loaded(&[]), 0);
    }

    #[test]
    fn a_heavy_connection_is_left_alone() {
        // One that keeps its loop busy, beside many that do little.
        assert_eq!(least_loaded(&[seen(950, 1, 0), seen(200, 9, 0)]), 1);
        assert_eq!(least_loaded(&[seen(200, 9, 0), seen(950, 1, 0)]), 0);
        // Some more come before the loops are looked at again: they do not outweigh it.
        assert_eq!(least_loaded(&[seen(950, 1, 0), seen(200, 12, 3)]), 1);
    }

    #[test]
    fn many_that_come_at_once_are_spread_all_the_same() {
        let mut loops = [seen(300, 3, 0), seen(600, 6, 0)];
        for _ in 0..90 {
            let number = least_loaded(&loops);
            loops[number].connections += 1;
            loops[number].placed += 1;
        }
        let [first, second] = loops.map(|it| it.connections);
        assert!(first.abs_diff(second) <= 4, "{first} and {second}");
    }

    #[test]
    fn a_small_difference_of_time_does_not_outweigh_connections() {
        assert_eq!(least_loaded(&[seen(40, 8, 0), seen(90, 2, 0)]), 1);
        assert_eq!(least_loaded(&[seen(40, 8, 0), seen(190, 2, 0)]), 0);
    }
}
