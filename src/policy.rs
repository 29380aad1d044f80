//! The decision core: may this key make this request, now?
//!
//! Everything here is a pure function of its arguments. A [`KeyPolicy`] says in source form what a key may do;
//! [`KeySnapshot::compile`] turns it into look-up tables once, when the key is loaded; [`evaluate`] answers for one
//! [`AccessRequest`] at one instant, without allocating for a request that is written in its normal form.
//!
//! Rules of this module:
//!
//! - `std` and `chrono` only; no clock, no IO, no logging. Time is an argument.
//! - What an end user controls is bytes of any content and length. It leads to a [`Decision`], never to an error or
//!   a panic, and costs time bounded by the maxima named here, not by its length.
//! - It fails closed: what is left out, empty, malformed or not understood is not allowed.
//! - A constructor parses, so that an invalid pattern, scope or id cannot exist. Every `parse` accepts its own
//!   output (`as_str`, `Display`) and returns an equal value.
//!
//! What does not belong here: proving a token (check 1 apart from *deleted*), rate limits (check 11), charging budgets
//! (check 12: here is the rule alone), how any of it is stored or sent.

mod address;
mod check;
mod decision;
mod endpoint;
mod evaluate;
mod ids;
mod key;
mod name_pattern;
mod path;
mod pattern_error;
mod period;
mod prefix_table;
mod record;
mod request;
mod rule;
mod scope;
mod snapshot;
mod spending;
mod text;

pub use address::{AddressPattern, parse_client_ip};
pub use check::{Check, CheckSet};
pub use decision::{Decision, Reason};
pub use endpoint::{EndpointPattern, METHOD_BYTES_MAX};
pub use evaluate::evaluate;
pub use ids::{BudgetId, KeyId, Micros, Revision, UserId};
pub use key::{KeyPolicy, KeyState};
pub use name_pattern::{NAME_BYTES_MAX, NamePattern, is_name};
pub use path::{MalformedPath, PATH_BYTES_MAX, normalise_path};
pub use pattern_error::{PATTERN_BYTES_MAX, PatternError};
pub use record::{
    Budget, BudgetSubject, Key, KeyTotals, NewBudget, NewKey, Owner, Period, RATE_LIMIT_MAX, RateLimits,
    RateWindows,
};
pub use request::{AccessRequest, Dimension, DimensionSet};
pub use rule::{AccessRule, PATTERNS_MAX, RuleError};
pub use scope::{SCOPE_ADMIN, SCOPE_AUTHORIZE, SCOPE_BYTES_MAX, SCOPE_READ, Scope, is_literal_scope};
pub use snapshot::{KeySnapshot, Rules};
pub use spending::{Admission, Balance, Refusal, Ruling, admit};
pub use text::{
    Description, DisplayName, InvalidText, METADATA_BYTES_MAX, Metadata, Permission, TAGS_MAX, Tag,
};
