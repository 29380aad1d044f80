//! Flags that narrow and order `keystile keys list`.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use prost_types::Timestamp;

use super::name_and_value;
use crate::cli::failure::Failure;
use crate::cli::time::{Expiry, to_timestamp};
use crate::grpc::pb;
use crate::grpc::pb::list_keys_request::Filter;

/// Which keys; every given flag must fit.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Keys of this owner
    #[arg(long, value_name = "ID")]
    user_id: Option<i64>,
    /// Keys in this state; may be repeated [default: all but deleted]
    #[arg(long = "state", value_name = "STATE", value_enum)]
    states: Vec<State>,
    /// Keys with this tag
    #[arg(long, value_name = "TAG", default_value = "", hide_default_value = true)]
    tag: String,
    /// Keys whose prefix starts so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Keys whose name holds this, whatever the case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// Keys that are granted this scope, literally
    #[arg(long, value_name = "SCOPE", default_value = "", hide_default_value = true)]
    scope: String,
    /// Keys that may call this model
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    model: String,
    /// Keys with this metadata; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
    #[command(flatten)]
    times: Times,
}

/// Times: instants, or lengths from now, back or ahead as each says.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Times (2030-01-31T00:00:00Z, now, or a length as in 7d)")]
struct Times {
    /// Created at or after this instant, or so long ago at most
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    created_after: Option<Expiry>,
    /// Created before this instant, or longer ago
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    created_before: Option<Expiry>,
    /// Expiring at or after this instant, or so long from now at least
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    expires_after: Option<Expiry>,
    /// Expiring before this instant, or sooner than so long from now
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    expires_before: Option<Expiry>,
    /// Last used at or after this instant, or so long ago at most
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    last_used_after: Option<Expiry>,
    /// Last used before this instant, or longer ago, or never
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    last_used_before: Option<Expiry>,
}

/// In which order.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Output")]
pub struct Order {
    /// What the keys are ordered by
    #[arg(long, value_name = "FIELD", value_enum, default_value_t = Field::KeyId)]
    order_by: Field,
    /// In falling order
    #[arg(long)]
    desc: bool,
}

/// The fields by the names that the contract has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Field {
    KeyId,
    CreateTime,
    UpdateTime,
    DisplayName,
    ExpireTime,
    LastUsedTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Active,
    Revoked,
    Deleted,
    Expired,
    OwnerDisabled,
}

impl Which {
    /// The filter, seen from `now`.
    ///
    /// # Errors
    /// [`Failure`], when a time is beyond the calendar.
    pub fn filter(&self, now: DateTime<Utc>) -> Result<Filter, Failure> {
        let Times {
            created_after,
            created_before,
            expires_after,
            expires_before,
            last_used_after,
            last_used_before,
        } = self.times;
        let (ago, ahead) = (Expiry::before, Expiry::after);
        Ok(Filter {
            user_id: self.user_id,
            states: self.states.iter().map(|state| pb::key::State::from(*state).into()).collect(),
            tag: self.tag.clone(),
            key_prefix: self.prefix.clone(),
            name_contains: self.name.clone(),
            scope: self.scope.clone(),
            model: self.model.clone(),
            metadata: self.metadata.iter().cloned().collect(),
            created_after: at(created_after, ago, now)?,
            created_before: at(created_before, ago, now)?,
            expires_after: at(expires_after, ahead, now)?,
            expires_before: at(expires_before, ahead, now)?,
            last_used_after: at(last_used_after, ago, now)?,
            last_used_before: at(last_used_before, ago, now)?,
        })
    }
}

fn at(
    when: Option<Expiry>,
    seen_from: fn(Expiry, DateTime<Utc>) -> Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<Option<Timestamp>, Failure> {
    let Some(when) = when else { return Ok(None) };
    let instant = seen_from(when, now).ok_or_else(|| Failure::new("A time is beyond the calendar."))?;
    Ok(Some(to_timestamp(instant)))
}

impl Order {
    /// As the contract writes it.
    pub fn to_order_by(self) -> String {
        let field = match self.order_by {
            Field::KeyId => "key_id",
            Field::CreateTime => "create_time",
            Field::UpdateTime => "update_time",
            Field::DisplayName => "display_name",
            Field::ExpireTime => "expire_time",
            Field::LastUsedTime => "last_used_time",
        };
        // The default is left to the server.
        match (self.order_by, self.desc) {
            (Field::KeyId, false) => String::new(),
            (_, false) => field.to_owned(),
            (_, true) => format!("{field} desc"),
        }
    }
}

impl From<State> for pb::key::State {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Revoked => Self::Revoked,
            State::Deleted => Self::Deleted,
            State::Expired => Self::Expired,
            State::OwnerDisabled => Self::OwnerDisabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        order: Order,
    }

    const NOW: i64 = 1_900_000_000;
    const DAY: i64 = 86_400;

    fn parsed(args: &[&str]) -> Program {
        Program::try_parse_from(["list"].iter().chain(args)).unwrap()
    }

    fn filter(args: &[&str]) -> Filter {
        parsed(args).which.filter(DateTime::from_timestamp(NOW, 0).unwrap()).unwrap()
    }

    #[test]
    fn every_flag_reaches_the_filter() {
        let given = filter(&[
            "--user-id=0",
            "--state=revoked",
            "--state=owner-disabled",
            "--tag=ci",
            "--prefix=ks_a",
            "--name=b",
            "--scope=chat.completions",
            "--model=gpt-4o",
            "--metadata=team=search",
        ]);
        let expected = Filter {
            user_id: Some(0),
            states: vec![pb::key::State::Revoked.into(), pb::key::State::OwnerDisabled.into()],
            tag: "ci".into(),
            key_prefix: "ks_a".into(),
            name_contains: "b".into(),
            scope: "chat.completions".into(),
            model: "gpt-4o".into(),
            metadata: [("team".into(), "search".into())].into(),
            ..Default::default()
        };
        assert_eq!(given, expected);
        assert_eq!(filter(&[]), Filter::default());
    }

    #[test]
    fn lengths_lie_back_but_for_expiries() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let given = filter(&[
            "--created-after=7d",
            "--created-before=1d",
            "--expires-after=1d",
            "--expires-before=7d",
            "--last-used-after=2030-01-01T00:00:00Z",
            "--last-used-before=90d",
        ]);
        assert_eq!(given.created_after, at(NOW - 7 * DAY));
        assert_eq!(given.created_before, at(NOW - DAY));
        assert_eq!(given.expires_after, at(NOW + DAY));
        assert_eq!(given.expires_before, at(NOW + 7 * DAY));
        assert_eq!(given.last_used_after, at(1_893_456_000));
        assert_eq!(given.last_used_before, at(NOW - 90 * DAY));
    }

    #[test]
    fn an_order_is_a_field_of_the_contract() {
        let order = |args: &[&str]| parsed(args).order.to_order_by();
        assert_eq!(order(&[]), "");
        assert_eq!(order(&["--desc"]), "key_id desc");
        assert_eq!(order(&["--order-by=expire_time"]), "expire_time");
        assert_eq!(order(&["--order-by=last_used_time", "--desc"]), "last_used_time desc");
        assert!(Program::try_parse_from(["list", "--order-by=state"]).is_err());
    }
}
