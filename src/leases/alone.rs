//! Going on without the store: by this replica's own counters, under each limit divided by the number of replicas.
//!
//! What is promised then is less: replicas that come or go share otherwise than was counted, what was used before the
//! store went away is not counted, and what is used now is not counted when it is back. `docs/rate-limits.md` says so.

use std::time::Duration;

use super::charging::{Charged, Limited, Verdict};
use super::held::{Held, Own};
use super::status::{self, Refused};
use crate::limits::{Ask, LimitStatus, Need, OwnTime, RowTime, answer};

const NANOS_PER_MICRO: OwnTime = 1_000;

/// All of it or nothing.
pub(super) fn charge(limited: &Limited, need: Need, is_dry: bool, replicas: i64, now: OwnTime) -> Verdict {
    // This row's time line is the replica's own clock.
    let time = RowTime::try_from(now / NANOS_PER_MICRO).unwrap_or(RowTime::MAX);
    let mut each: Vec<_> = limited.both().map(|held| (&**held, held.own())).collect();
    let mut refused: Option<Refused> = None;
    for (held, own) in &mut each {
        let terms = own.terms.share(replicas);
        own.row.advance(time, &terms);
        if let Some(shortage) = own.row.shortage(need, &terms) {
            let retry_after = shortage.room_at.map(|room_at| since(time, room_at));
            let (whose, limit, most) = (status::whose(held), shortage.limit, shortage.most);
            refused = Some(Refused { whose, limit, most, retry_after, is_local: true }.longer(refused));
        }
    }
    if refused.is_none() && !is_dry {
        let ask = Ask { needed: need, ..Ask::default() };
        for (_, own) in &mut each {
            let terms = own.terms.share(replicas);
            own.row = answer(std::mem::take(&mut own.row), time, terms, &ask).row;
        }
    }
    let statuses = each.iter().flat_map(|(held, own)| statuses(held, own, replicas, time)).collect();
    match refused {
        Some(refused) => Verdict::Refused(refused, statuses),
        None => Verdict::Charged(Charged { statuses, is_local: true, ..Charged::default() }),
    }
}

fn statuses(held: &Held, own: &Own, replicas: i64, time: RowTime) -> Vec<LimitStatus> {
    LimitStatus::of_row(status::whose(held), Some(own.row.clone()), time, &own.terms.share(replicas))
}

fn since(time: RowTime, later: RowTime) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(time)).unwrap_or_default())
}
