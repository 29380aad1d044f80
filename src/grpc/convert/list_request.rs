//! ListKeys: its filter, its order, and places in it.

use chrono::{DateTime, Utc};

use super::key_request::read_user_id;
use super::keys::STATES;
use super::time::read_timestamp;
use crate::admin::ListKeys;
use crate::grpc::page::read_page_size;
use crate::grpc::page_token::{self, ListName, number};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{DisplayName, KeyId, KeyState, Metadata, Tag, is_literal_scope, is_name};
use crate::storage::listing::{KeyFilter, KeyOrder, OrderField, OrderValue, Page, Position};

/// The fields that a list can be ordered by.
const ORDERS: [(&str, OrderField); 6] = [
    ("key_id", OrderField::KeyId),
    ("create_time", OrderField::CreateTime),
    ("update_time", OrderField::UpdateTime),
    ("display_name", OrderField::DisplayName),
    ("expire_time", OrderField::ExpireTime),
    ("last_used_time", OrderField::LastUsedTime),
];

/// A request for a page, with the name of its list; `None` with faults.
pub fn read_list(violations: &mut Violations, request: pb::ListKeysRequest) -> (ListName, Option<ListKeys>) {
    let pb::ListKeysRequest { filter, order_by, page_size, page_token } = request;
    let filter = filter.unwrap_or_default();
    let order = read_order(&order_by);
    let list = ListName::of(&filter, &order.map(list_name).unwrap_or_default());
    let order = violations.require(
        "order_by",
        order,
        "must be key_id, create_time, update_time, display_name, expire_time or last_used_time, and ` desc` for \
         falling order",
    );
    let filter = read_filter(violations, filter);
    let place = |bytes: &[u8]| read_position(bytes).filter(|place| order.is_none_or(|it| it.has(place)));
    let after = page_token::read_place(violations, list, &page_token, place);
    let limit = read_page_size(violations, page_size);
    let request = order
        .zip(limit)
        .map(|(order, limit)| ListKeys { filter, page: Page { order, after, limit: limit.into() } });
    (list, request)
}

fn read_order(text: &str) -> Option<KeyOrder> {
    let text = text.trim();
    if text.is_empty() {
        return Some(KeyOrder::DEFAULT);
    }
    let (name, descending) = match text.split_once(' ') {
        None | Some((_, "asc")) => (text.strip_suffix(" asc").unwrap_or(text), false),
        Some((name, "desc")) => (name, true),
        Some(_) => return None,
    };
    let (_, field) = ORDERS.iter().find(|(known, _)| *known == name)?;
    Some(KeyOrder { field: *field, descending })
}

/// An order in the name of a list. The one by last use says that its places are minutes: where they were moments, in
/// page tokens of older programs, a page would go on in the wrong place, so those are tokens of another list.
fn list_name(order: KeyOrder) -> String {
    let by = if order.field == OrderField::LastUsedTime { " by minute" } else { "" };
    format!("{}{by}", order_name(order))
}

/// The same for every way to write an order.
fn order_name(order: KeyOrder) -> String {
    let name = ORDERS.iter().find(|(_, field)| *field == order.field).map_or("", |(name, _)| name);
    format!("{name}{}", if order.descending { " desc" } else { "" })
}

/// A place for a page token.
#[must_use]
pub fn position_bytes(position: &Position) -> Vec<u8> {
    let (kind, value) = match &position.value {
        OrderValue::Id => (0_u8, Vec::new()),
        OrderValue::Time(None) => (1, Vec::new()),
        OrderValue::Time(Some(time)) => (2, time.timestamp_micros().to_be_bytes().to_vec()),
        OrderValue::Name(name) => (3, name.as_bytes().to_vec()),
    };
    [&position.key_id.get().to_be_bytes()[..], &[kind], &value].concat()
}

/// A place from a page token. Nothing in it is believed: whoever asks may have made it himself.
fn read_position(bytes: &[u8]) -> Option<Position> {
    let (id, rest) = bytes.split_at_checked(8)?;
    let (kind, value) = rest.split_first()?;
    let value = match kind {
        0 => value.is_empty().then_some(OrderValue::Id),
        1 => value.is_empty().then_some(OrderValue::Time(None)),
        2 => read_micros(value).map(|time| OrderValue::Time(Some(time))),
        3 => {
            let name = DisplayName::parse(String::from_utf8(value.to_vec()).ok()?).ok()?;
            Some(OrderValue::Name(name.as_str().to_owned()))
        }
        _ => None,
    };
    Some(Position { value: value?, key_id: KeyId::new(number(id)?)? })
}

/// A time of a page token, within the years that the contract can say.
pub fn read_micros(bytes: &[u8]) -> Option<DateTime<Utc>> {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let time = DateTime::from_timestamp_micros(number(bytes)?)?;
    YEARS.contains(&time.timestamp()).then_some(time)
}

fn read_filter(violations: &mut Violations, filter: pb::list_keys_request::Filter) -> KeyFilter {
    let pb::list_keys_request::Filter {
        user_id,
        states,
        tag,
        key_prefix,
        name_contains,
        scope,
        model,
        metadata,
        created_after,
        created_before,
        expires_after,
        expires_before,
        last_used_after,
        last_used_before,
    } = filter;
    for (field, text) in [("filter.key_prefix", &key_prefix), ("filter.name_contains", &name_contains)] {
        if !text.is_empty() {
            violations.take(field, DisplayName::parse(text.clone()));
        }
    }
    if !scope.is_empty() && !is_literal_scope(&scope) {
        violations.add("filter.scope", "must be a scope that can be asked for: without a wildcard");
    }
    if !model.is_empty() && !is_name(&model) {
        violations.add("filter.model", "must be 1 to 256 bytes without control characters");
    }
    KeyFilter {
        states: read_states(violations, &states),
        user_id: user_id.and_then(|user| read_user_id(violations, "filter.user_id", user)),
        tag: if tag.is_empty() { None } else { violations.take("filter.tag", Tag::parse(tag)) },
        key_prefix,
        name_contains,
        scope,
        model,
        metadata: violations.take("filter.metadata", Metadata::parse(metadata)).unwrap_or_default(),
        created_after: read_timestamp(violations, "filter.created_after", created_after),
        created_before: read_timestamp(violations, "filter.created_before", created_before),
        expires_after: read_timestamp(violations, "filter.expires_after", expires_after),
        expires_before: read_timestamp(violations, "filter.expires_before", expires_before),
        last_used_after: read_timestamp(violations, "filter.last_used_after", last_used_after),
        last_used_before: read_timestamp(violations, "filter.last_used_before", last_used_before),
    }
}

fn read_states(violations: &mut Violations, states: &[i32]) -> Vec<KeyState> {
    let mut known = Vec::new();
    for (position, state) in states.iter().enumerate() {
        match STATES.iter().find(|(message, _)| i32::from(*message) == *state) {
            Some((_, state)) if known.contains(state) => {}
            Some((_, state)) => known.push(*state),
            None => violations.add(format!("filter.states[{position}]"), "must be one of the states"),
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Option<String> {
        read_order(text).map(order_name)
    }

    #[test]
    fn an_order_is_a_field_and_a_direction() {
        assert_eq!(order("").as_deref(), Some("key_id"));
        for (name, _) in ORDERS {
            assert_eq!(order(name), order(&format!(" {name} asc ")));
            assert_eq!(order(&format!("{name} desc")), Some(format!("{name} desc")));
        }
        for bad in [
            "user_id",
            "asc",
            "key_id,create_time",
            "key_id  desc",
            "key_id desc desc",
            "KEY_ID",
            "key_id ASC",
        ] {
            assert_eq!(order(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_place_in_the_order_of_last_use_is_not_one_of_the_time_when_it_went_by_moments() {
        let request = |order_by: &str, page_token: &str| pb::ListKeysRequest {
            order_by: order_by.to_owned(),
            page_token: page_token.to_owned(),
            ..Default::default()
        };
        let filter = pb::list_keys_request::Filter::default();
        let value = OrderValue::Time(DateTime::from_timestamp_micros(1_800_000_000_123_456));
        let place = position_bytes(&Position { value, key_id: KeyId::new(77).unwrap() });
        for (order, is_of_moments) in [
            ("last_used_time", true),
            ("last_used_time desc", true),
            ("expire_time", false),
            ("create_time desc", false),
        ] {
            // As programs wrote it that ordered by moments.
            let token = page_token::write(ListName::of(&filter, order), &place);
            let mut violations = Violations::default();
            let (list, read) = read_list(&mut violations, request(order, &token));
            assert_eq!(read.unwrap().page.after.is_none(), is_of_moments, "{order}");
            assert_eq!(violations.iter().count() == 1, is_of_moments, "{order}");
            assert_eq!(list != ListName::of(&filter, order), is_of_moments, "{order}");
        }
    }

    #[test]
    fn a_place_reads_as_it_was_written_and_garbage_does_not_read() {
        let time = DateTime::from_timestamp_micros(1_800_000_000_123_456);
        let key_id = KeyId::new(77).unwrap();
        for value in [
            OrderValue::Id,
            OrderValue::Time(None),
            OrderValue::Time(time),
            OrderValue::Name("Zoë's key".to_owned()),
        ] {
            let place = Position { value, key_id };
            assert_eq!(read_position(&position_bytes(&place)), Some(place));
        }
        let id = 77_i64.to_be_bytes();
        let with = |rest: &[u8]| [&id[..], rest].concat();
        for garbage in [
            Vec::new(),
            id.to_vec(),
            with(&[0, 0]),
            with(&[1, 0]),
            with(&[2]),
            with(&[&[2][..], &i64::MAX.to_be_bytes()].concat()),
            with(&[3]),
            with(&[3, 0]),
            with(&[3, 0xff]),
            with(&[4]),
            [&0_i64.to_be_bytes()[..], &[0]].concat(),
        ] {
            assert_eq!(read_position(&garbage), None, "{garbage:?}");
        }
    }
}
