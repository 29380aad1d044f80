//! Between the messages of the contract and the domain.
//!
//! From a message: every field is taken apart by name, so that a new field breaks the build until someone
//! decides about it, and every fault is collected with its path. To a message: one function a resource.

pub mod audit;
pub mod authorize;
pub mod budgets;
pub mod grants;
pub mod key_request;
pub mod keys;
pub mod limits;
pub mod list_request;
pub mod owners;
pub mod request_id;
pub mod rules;
pub mod scopes;
pub mod time;
pub mod update_budget;
pub mod update_key;
pub mod update_mask;
