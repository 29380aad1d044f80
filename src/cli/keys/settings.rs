//! Flags of what a key is and may do, for a new key and for one that is changed.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};

use super::access::Access;
use super::name_and_value;
use crate::cli::failure::Failure;
use crate::grpc::pb;

/// What a key is and may do, but for its owner, name, limits and end.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// What the key is for, at most 500 characters
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Metadata that every decision returns; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,

    /// The access rules.
    #[command(flatten)]
    pub access: Access,
    /// Granted scope: chat.completions, chat.*; may be repeated
    #[arg(long = "scope", value_name = "SCOPE", help_heading = "What the key may do")]
    pub scopes: Vec<String>,
    /// Granted permission; may be repeated
    #[arg(long = "permission", value_name = "NAME", help_heading = "What the key may do")]
    pub permissions: Vec<String>,
    /// Checks to report but not enforce for this key, by commas
    #[arg(
        long,
        value_name = "CHECKS",
        value_enum,
        value_delimiter = ',',
        help_heading = "What the key may do"
    )]
    observe: Vec<Observed>,
}

/// The checks by the names that configuration has for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Observed {
    Ips,
    Endpoints,
    Scopes,
    Permissions,
    Models,
    Chatbots,
    RateLimits,
    Budgets,
}

impl Settings {
    /// Sets what is given on `key`.
    ///
    /// # Errors
    /// [`Failure`], when metadata has one name twice.
    pub fn set_on(&self, key: &mut pb::Key) -> Result<(), Failure> {
        key.description = self.description.clone().unwrap_or_default();
        key.tags = self.tags.clone();
        key.metadata = self.metadata()?;
        key.scopes = self.scopes.clone();
        key.permissions = self.permissions.clone();
        key.observe = self.observe.iter().map(|observed| pb::key::Check::from(*observed).into()).collect();
        self.access.set_on(key);
        Ok(())
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let metadata: BTreeMap<_, _> = self.metadata.iter().cloned().collect();
        if metadata.len() < self.metadata.len() {
            return Err(Failure::new("--metadata gives one name twice."));
        }
        Ok(metadata)
    }
}

impl From<Observed> for pb::key::Check {
    fn from(observed: Observed) -> Self {
        match observed {
            Observed::Ips => Self::Ips,
            Observed::Endpoints => Self::Endpoints,
            Observed::Scopes => Self::Scopes,
            Observed::Permissions => Self::Permissions,
            Observed::Models => Self::Models,
            Observed::Chatbots => Self::Chatbots,
            Observed::RateLimits => Self::RateLimits,
            Observed::Budgets => Self::Budgets,
        }
    }
}
