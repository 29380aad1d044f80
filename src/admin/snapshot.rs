//! A resource as the audit log shows it before and after a change. Never a token, hash or digest.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::policy::{AccessRule, Budget, BudgetSubject, Key, Micros, Owner, RateLimits, RateWindows};

/// A key and its own budgets for the audit log.
pub(super) fn key(key: &Key, budgets: &[Budget]) -> Value {
    let policy = &key.policy;
    json!({
        "key_id": key.key_id.get(),
        "user_id": key.user_id.get(),
        "display_name": key.display_name.as_str(),
        "description": key.description.as_str(),
        "tags": key.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
        "metadata": key.metadata.as_map(),
        "key_prefix": key.key_prefix,
        "permissions": policy.permissions.iter().map(|it| it.as_str()).collect::<Vec<_>>(),
        "scopes": policy.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "models": rule(&policy.models),
        "endpoints": rule(&policy.endpoints),
        "ips": rule(&policy.ips),
        "chatbots": rule(&policy.chatbots),
        "observe": policy.observe.iter().map(|check| check.as_str()).collect::<Vec<_>>(),
        "rate_limits": rate_limits(key.rate_limits),
        "expire_time": policy.expire_time,
        "revoke_time": key.revoke_time,
        "revoke_reason": key.revoke_reason.as_str(),
        "delete_time": key.delete_time,
        "purge_time": key.purge_time,
        "budgets": budgets.iter().map(budget).collect::<Vec<_>>(),
    })
}

/// A key before or after a change, with the end of the token before its last rotation, where that still works.
pub(super) fn key_in_grace(of: &Key, budgets: &[Budget], end: Option<DateTime<Utc>>) -> Value {
    let mut shown = key(of, budgets);
    if let (Value::Object(fields), Some(end)) = (&mut shown, end) {
        fields.insert("previous_token_expire_time".to_owned(), json!(end));
    }
    shown
}

/// What an administrator set; balances change with use, and are not his.
fn budget(budget: &Budget) -> Value {
    let terms = &budget.terms;
    json!({
        "budget_id": budget.budget_id.get(),
        "display_name": terms.display_name,
        "limit_micros": terms.limit.get(),
        "period": terms.period.as_str(),
        "is_hard": terms.is_hard,
        "warning_micros": terms.warning.map(Micros::get),
        "models": rule(&terms.models),
        "default_estimate_micros": terms.default_estimate.get(),
        "require_estimate": terms.require_estimate,
    })
}

/// A budget for the audit log that is shown by itself: with whose it is.
pub(super) fn own_budget(of: &Budget) -> Value {
    let (name, id) = match of.subject {
        BudgetSubject::Key(key_id) => ("key_id", key_id.get()),
        BudgetSubject::Owner(user_id) => ("user_id", user_id.get()),
    };
    with(budget(of), [(name, id)])
}

/// The same with its balance, where the change is about that, or takes it away.
pub(super) fn budget_with_balance(of: &Budget) -> Value {
    with(own_budget(of), [("spent_micros", of.spent.get()), ("reserved_micros", of.reserved.get())])
}

fn with<const N: usize>(mut shown: Value, numbers: [(&str, i64); N]) -> Value {
    if let Value::Object(fields) = &mut shown {
        fields.extend(numbers.map(|(name, number)| (name.to_owned(), json!(number))));
    }
    shown
}

/// An owner for the audit log.
pub(super) fn owner(owner: &Owner) -> Value {
    json!({
        "user_id": owner.user_id.get(),
        "disable_time": owner.disable_time,
        "rate_limits": rate_limits(owner.rate_limits),
    })
}

/// `"any"`, or the list of patterns.
fn rule<P: ToString>(rule: &AccessRule<P>) -> Value {
    match rule {
        AccessRule::Any => Value::from("any"),
        AccessRule::Only(patterns) => patterns.iter().map(ToString::to_string).collect(),
    }
}

fn rate_limits(limits: RateLimits) -> Value {
    let windows = |windows: RateWindows| {
        json!({
            "per_minute": windows.per_minute,
            "per_hour": windows.per_hour,
            "per_day": windows.per_day,
        })
    };
    json!({ "requests": windows(limits.requests), "tokens": windows(limits.tokens) })
}
