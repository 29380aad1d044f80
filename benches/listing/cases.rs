//! What is asked: filters and orders.

use keystile::clock::Clock;
use keystile::grpc::pb::key::State;
use keystile::grpc::pb::list_keys_request::Filter;
use prost_types::Timestamp;

/// One kind of list.
pub struct Case {
    /// For people.
    pub name: String,
    /// `order_by`.
    pub order: String,
    /// Another value for each round.
    pub filter: Box<dyn Fn(i64) -> Filter>,
}

fn case(name: &str, filter: impl Fn(i64) -> Filter + 'static) -> Case {
    Case { name: name.to_owned(), order: String::new(), filter: Box::new(filter) }
}

fn ago(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: Clock::System.now().timestamp() - seconds, nanos: 0 })
}

fn states(states: &[State]) -> Filter {
    Filter { states: states.iter().map(|state| i32::from(*state)).collect(), ..Filter::default() }
}

/// Every case, for keys 1 to `keys`, one made every 10 seconds.
pub fn all(keys: i64) -> Vec<Case> {
    let mut cases = Vec::new();
    for field in ["key_id", "create_time", "update_time", "display_name", "expire_time", "last_used_time"] {
        for order in [field.to_owned(), format!("{field} desc")] {
            let name = format!("order {order}");
            cases.push(Case { name, order, filter: Box::new(|_| Filter::default()) });
        }
    }
    cases.extend(sets());
    cases.extend(times(keys));
    cases.extend(of_states());
    cases.extend(hard(keys));
    cases
}

fn sets() -> Vec<Case> {
    let base = Filter::default;
    vec![
        case("user_id", move |n| Filter { user_id: Some(17 + n), ..base() }),
        case("tag, rare", move |n| Filter { tag: format!("team-{n}"), ..base() }),
        case("tag, common", move |_| Filter { tag: "default".into(), ..base() }),
        case("tag, of nobody", move |_| Filter { tag: "nobody".into(), ..base() }),
        case("key_prefix, rare", move |n| Filter { key_prefix: format!("ks_{n:x}ab"), ..base() }),
        case("key_prefix, common", move |_| Filter { key_prefix: "ks_".into(), ..base() }),
        case("name_contains, rare", move |n| Filter { name_contains: format!("{n:x}ABC"), ..base() }),
        case("name_contains, common", move |_| Filter { name_contains: "key".into(), ..base() }),
        case("name_contains, two characters", move |n| Filter { name_contains: format!("{n}a"), ..base() }),
        case("scope, rare", move |n| Filter { scope: format!("app-{n}.use"), ..base() }),
        case("scope, common", move |_| Filter { scope: "chat.completions".into(), ..base() }),
        case("model, rare", move |n| Filter { model: format!("m{n}-large"), ..base() }),
        case("model, common", move |_| Filter { model: "gpt-4o-mini".into(), ..base() }),
        case("metadata, rare", move |n| {
            let wanted = [("team".to_owned(), format!("team-{n}"))];
            Filter { metadata: wanted.into(), ..base() }
        }),
        case("metadata, common", move |_| {
            let wanted = [("tier".to_owned(), "free".to_owned())];
            Filter { metadata: wanted.into(), ..base() }
        }),
    ]
}

fn times(keys: i64) -> Vec<Case> {
    let base = Filter::default;
    let part = move |percent: i64| keys * percent / 10;
    vec![
        case("created_after, last hour", move |n| Filter { created_after: ago(3_600 + n), ..base() }),
        case("created_after, last tenth", move |n| Filter { created_after: ago(part(10) + n), ..base() }),
        case("created_before, first tenth", move |n| Filter { created_before: ago(part(90) + n), ..base() }),
        case("expires_after, last tenth", move |n| Filter { expires_after: ago(n - part(80)), ..base() }),
        case("expires_before, soon", move |n| Filter { expires_before: ago(n - part(1)), ..base() }),
        case("last_used_after, last hour", move |n| Filter { last_used_after: ago(3_600 + n), ..base() }),
        case("last_used_after, half", move |n| Filter { last_used_after: ago(part(50) + n), ..base() }),
        case("last_used_before, half", move |n| Filter { last_used_before: ago(part(50) + n), ..base() }),
    ]
}

fn of_states() -> Vec<Case> {
    vec![
        case("states ACTIVE", |_| states(&[State::Active])),
        case("states REVOKED", |_| states(&[State::Revoked])),
        case("states DELETED", |_| states(&[State::Deleted])),
        case("states EXPIRED", |_| states(&[State::Expired])),
        case("states OWNER_DISABLED", |_| states(&[State::OwnerDisabled])),
        case("states REVOKED, EXPIRED", |_| states(&[State::Revoked, State::Expired])),
    ]
}

/// Several filters, another order under a filter, and many keys that stand together at the end.
fn hard(keys: i64) -> Vec<Case> {
    let base = Filter::default;
    let used = move |order: &str, filter: fn(i64) -> Filter| Case {
        name: format!("tag, rare; order {order}"),
        order: order.to_owned(),
        filter: Box::new(filter),
    };
    vec![
        used("last_used_time desc", |n| Filter { tag: format!("team-{n}"), ..Filter::default() }),
        used("display_name", |n| Filter { tag: format!("team-{n}"), ..Filter::default() }),
        case("tag, common, at the end only", move |_| Filter { tag: "late".into(), ..base() }),
        case("tag, common, and model, rare", move |n| Filter {
            tag: "default".into(),
            model: format!("m{n}-large"),
            ..base()
        }),
        case("tag, rare, and created, last tenth", move |n| Filter {
            tag: format!("team-{n}"),
            created_after: ago(keys),
            ..base()
        }),
        case("ACTIVE, two characters of a name", move |n| Filter {
            name_contains: format!("{n}b"),
            ..states(&[State::Active])
        }),
    ]
}
