//! The three templates of keys. What the request gives wins; a list, rule or set of
//! limits that is given replaces the template's whole.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::policy::{
    AccessRule, AddressPattern, CheckSet, Description, DisplayName, EndpointPattern, Metadata, NamePattern,
    NewKey, Permission, RateLimits, Scope, Tag, UserId,
};

/// What a request for a new key gives. `None` and empty sets are not given.
#[derive(Clone, Debug)]
pub struct KeyDraft {
    /// Owner.
    pub user_id: UserId,
    /// For people.
    pub display_name: DisplayName,
    /// For people.
    pub description: Option<Description>,
    /// For people.
    pub tags: BTreeSet<Tag>,
    /// For programs.
    pub metadata: Metadata,
    /// Granted.
    pub permissions: BTreeSet<Permission>,
    /// Granted.
    pub scopes: BTreeSet<Scope>,
    /// Rule.
    pub models: Option<AccessRule<NamePattern>>,
    /// Rule.
    pub endpoints: Option<AccessRule<EndpointPattern>>,
    /// Rule.
    pub ips: Option<AccessRule<AddressPattern>>,
    /// Rule.
    pub chatbots: Option<AccessRule<NamePattern>>,
    /// Limits.
    pub rate_limits: Option<RateLimits>,
    /// Checks that do not deny.
    pub observe: CheckSet,
    /// Exclusive.
    pub expire_time: Option<DateTime<Utc>>,
}

/// Where the fields that are not given come from.
#[derive(Clone, Debug)]
pub struct Template {
    permissions: BTreeSet<Permission>,
    scopes: BTreeSet<Scope>,
    rate_limits: RateLimits,
    models: AccessRule<NamePattern>,
    endpoints: AccessRule<EndpointPattern>,
    chatbots: AccessRule<NamePattern>,
    tags: BTreeSet<Tag>,
    description: Description,
}

/// The words of a template that do not parse: a defect of this file, or an id or name that is too long.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTemplate(String);

fn invalid(error: impl std::fmt::Display) -> InvalidTemplate {
    InvalidTemplate(error.to_string())
}

struct Words<'a> {
    permissions: &'a [&'a str],
    scopes: &'a [&'a str],
    tags: &'a [&'a str],
    description: &'a str,
    rate_limits: RateLimits,
}

impl Words<'_> {
    fn parse(&self) -> Result<Template, InvalidTemplate> {
        Ok(Template {
            permissions: each(self.permissions, |word| Permission::parse(word))?,
            scopes: each(self.scopes, Scope::parse)?,
            tags: each(self.tags, |word| Tag::parse(word))?,
            description: Description::parse(self.description).map_err(invalid)?,
            rate_limits: self.rate_limits,
            models: AccessRule::Any,
            endpoints: AccessRule::Any,
            chatbots: AccessRule::Any,
        })
    }
}

fn each<T: Ord, E: std::fmt::Display>(
    words: &[&str],
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<BTreeSet<T>, InvalidTemplate> {
    words.iter().map(|word| parse(word).map_err(invalid)).collect()
}

impl Template {
    /// No template: nothing granted, nothing limited, rules ANY.
    ///
    /// # Errors
    /// None in practice.
    pub fn none() -> Result<Self, InvalidTemplate> {
        let rate_limits = RateLimits::default();
        Words { permissions: &[], scopes: &[], tags: &[], description: "", rate_limits }.parse()
    }

    /// The usual key.
    ///
    /// # Errors
    /// None in practice.
    pub fn default_key() -> Result<Self, InvalidTemplate> {
        Words {
            permissions: &["read", "write", "chat", "embeddings"],
            scopes: &["chat.completions", "embeddings.create", "models.list"],
            tags: &["default"],
            description: "Default API key with standard permissions",
            rate_limits: RateLimits::requests(60, 3_600, 86_400),
        }
        .parse()
    }

    /// A narrow key; an empty list of models or endpoints means any, as in the older system.
    ///
    /// # Errors
    /// None in practice.
    pub fn restricted_key(
        models: BTreeSet<NamePattern>,
        endpoints: BTreeSet<EndpointPattern>,
    ) -> Result<Self, InvalidTemplate> {
        let words = Words {
            permissions: &["read", "chat"],
            scopes: &["chat.completions"],
            tags: &["restricted"],
            description: "Restricted API key with limited permissions",
            rate_limits: RateLimits::requests(30, 1_800, 43_200),
        };
        Ok(Self { models: any_if_empty(models), endpoints: any_if_empty(endpoints), ..words.parse()? })
    }

    /// A key for one chatbot. The id must be 1 to 64 of `A-Z a-z 0-9 . _ -`, so that it can stand in a
    /// path as it is.
    ///
    /// # Errors
    /// Where the id or the name is out of its bounds.
    pub fn chatbot_key(chatbot_id: &str, chatbot_name: &str) -> Result<Self, InvalidTemplate> {
        if !is_chatbot_id(chatbot_id) {
            return Err(invalid("the chatbot id must be 1 to 64 of A-Z a-z 0-9 . _ -"));
        }
        let tag = format!("chatbot-{chatbot_id}").chars().take(TAG_CHARS_MAX).collect::<String>();
        let words = Words {
            permissions: &["chatbot"],
            scopes: &["chatbot.chat"],
            tags: &["chatbot", &tag],
            description: &format!("API key for chatbot: {chatbot_name}"),
            rate_limits: RateLimits::requests(100, 6_000, 144_000),
        };
        let path = format!("/api/v1/chatbot/external/{chatbot_id}/*");
        let endpoint = EndpointPattern::parse(&path).map_err(invalid)?;
        let chatbot = NamePattern::parse(chatbot_id).map_err(invalid)?;
        Ok(Self {
            endpoints: AccessRule::Only(BTreeSet::from([endpoint])),
            chatbots: AccessRule::Only(BTreeSet::from([chatbot])),
            ..words.parse()?
        })
    }

    /// The key that a draft asks for.
    #[must_use]
    pub fn apply(self, draft: KeyDraft) -> NewKey {
        NewKey {
            user_id: draft.user_id,
            display_name: draft.display_name,
            description: draft.description.unwrap_or(self.description),
            tags: given_or(draft.tags, self.tags),
            metadata: draft.metadata,
            permissions: given_or(draft.permissions, self.permissions),
            scopes: given_or(draft.scopes, self.scopes),
            models: draft.models.unwrap_or(self.models),
            endpoints: draft.endpoints.unwrap_or(self.endpoints),
            ips: draft.ips.unwrap_or(AccessRule::Any),
            chatbots: draft.chatbots.unwrap_or(self.chatbots),
            rate_limits: draft.rate_limits.unwrap_or(self.rate_limits),
            observe: draft.observe,
            expire_time: draft.expire_time,
        }
    }
}

/// A tag holds at most 64 characters: the tag of a chatbot with a long id is cut; its rule is not.
const TAG_CHARS_MAX: usize = 64;

fn is_chatbot_id(id: &str) -> bool {
    let ok = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // A dot segment would make a path that no request can match.
    (1..=64).contains(&id.len()) && id.bytes().all(ok) && id != "." && id != ".."
}

fn any_if_empty<P: Ord>(patterns: BTreeSet<P>) -> AccessRule<P> {
    if patterns.is_empty() { AccessRule::Any } else { AccessRule::Only(patterns) }
}

fn given_or<T>(given: BTreeSet<T>, otherwise: BTreeSet<T>) -> BTreeSet<T> {
    if given.is_empty() { otherwise } else { given }
}

#[cfg(test)]
mod tests;
