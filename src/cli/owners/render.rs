//! Owners for people.

use crate::cli::keys::rate_limits;
use crate::cli::output::{Look, Tone};
use crate::cli::table::{Cell, Column, columns, properties_in};
use crate::cli::time::{format_minutes, format_timestamp};
use crate::grpc::pb;

/// Owners, a row each.
pub fn table(owners: &[pb::Owner], look: Look) -> String {
    let header = [
        Column::Whole("OWNER"),
        Column::Whole("STATE"),
        Column::Whole("KEYS"),
        Column::Whole("DISABLED"),
        Column::Cut("REQUESTS"),
        Column::Cut("TOKENS"),
    ];
    let rows = owners.iter().map(|owner| {
        let mut row = vec![
            Cell::from(owner.user_id.to_string()),
            state(owner),
            owner.key_count.to_string().into(),
            owner.disable_time.as_ref().map(format_minutes).unwrap_or_default().into(),
        ];
        row.extend(rate_limits(owner.rate_limits).into_iter().map(|(_, limits)| Cell::from(limits)));
        row
    });
    columns(look, &header, rows)
}

/// One owner, a row a property.
pub fn details(owner: &pb::Owner, look: Look) -> String {
    let time = |time: &Option<prost_types::Timestamp>| {
        Cell::from(time.as_ref().map(format_timestamp).unwrap_or_default())
    };
    let mut rows = vec![
        ("owner", Cell::from(owner.user_id.to_string())),
        ("state", state(owner)),
        ("disabled", time(&owner.disable_time)),
        ("keys", owner.key_count.to_string().into()),
    ];
    let limits = rate_limits(owner.rate_limits);
    rows.extend(limits.into_iter().map(|(name, limit)| (name, Cell::from(limit))));
    rows.extend([
        ("created", time(&owner.create_time)),
        ("updated", time(&owner.update_time)),
        ("etag", owner.etag.clone().into()),
    ]);
    properties_in(look, rows)
}

fn state(owner: &pb::Owner) -> Cell {
    match owner.disabled {
        true => Cell::toned("DISABLED", Some(Tone::Bad)),
        false => Cell::toned("ENABLED", Some(Tone::Good)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> pb::Owner {
        pb::Owner {
            user_id: 4,
            key_count: 2,
            etag: "e1".into(),
            disabled: true,
            disable_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            rate_limits: Some(pb::RateLimits {
                requests: Some(pb::RateLimitWindows { per_hour: Some(9), ..Default::default() }),
                tokens: None,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn an_owner_is_shown_with_its_state() {
        let enabled = pb::Owner { user_id: 4, key_count: 2, etag: "e1".into(), ..Default::default() };
        assert_eq!(details(&enabled, Look::default()), "owner  4\nstate  ENABLED\nkeys   2\netag   e1");
        assert_eq!(
            details(&owner(), Look::default()),
            "\
owner     4
state     DISABLED
disabled  2030-03-17 17:46:40Z
keys      2
requests  9 an hour
etag      e1"
        );
    }

    #[test]
    fn owners_are_a_row_each() {
        assert_eq!(
            table(&[owner()], Look::default()),
            "\
OWNER  STATE     KEYS  DISABLED           REQUESTS   TOKENS
4      DISABLED  2     2030-03-17 17:46Z  9 an hour"
        );
    }
}
