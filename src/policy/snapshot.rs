//! A key's policy, compiled once when the key is loaded, so that look-ups are a few comparisons and allocate
//! nothing. Immutable: a changed key is compiled anew.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::address::{AddressPattern, AddressTable, parse_client_ip};
use super::check::{Check, CheckSet};
use super::endpoint::EndpointPattern;
use super::key::{KeyPolicy, KeyState, Standing};
use super::name_pattern::{NamePattern, parse_name};
use super::prefix_table::{PrefixTable, Stem};
use super::rule::AccessRule;
use super::scope::{Grant, Scope, is_literal_scope, is_reserved};
use super::text::Permission;

/// The compiled form of a [`KeyPolicy`].
#[derive(Clone, Debug)]
pub struct KeySnapshot {
    pub(super) standing: Standing,
    pub(super) observe: CheckSet,
    pub(super) rules: Arc<Rules>,
}

/// What a key may do, apart from the state it is in. Keys of one template mostly have equal ones, which a cache may
/// keep once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rules {
    pub(super) ips: AddressRule,
    pub(super) endpoints: EndpointRule,
    pub(super) models: NameRule,
    pub(super) chatbots: NameRule,
    pub(super) scopes: ScopeTable,
    pub(super) permissions: PermissionTable,
}

impl KeySnapshot {
    /// Compiles a policy. Costs a sort of its patterns; done when a key is loaded, not when it is used.
    #[must_use]
    pub fn compile(key: &KeyPolicy) -> Self {
        Self {
            standing: Standing::of(key),
            observe: key.observe,
            rules: Arc::new(Rules {
                ips: AddressRule::compile(&key.ips),
                endpoints: EndpointRule::compile(&key.endpoints),
                models: NameRule::compile(&key.models),
                chatbots: NameRule::compile(&key.chatbots),
                scopes: ScopeTable::compile(key.scopes.iter()),
                permissions: PermissionTable::compile(key.permissions.iter()),
            }),
        }
    }

    /// The same key, with these checks only observed instead of its own.
    #[must_use]
    pub fn observing(&self, observe: CheckSet) -> Self {
        Self { observe, ..self.clone() }
    }

    /// Checks that do not deny.
    #[must_use]
    pub fn observed_checks(&self) -> CheckSet {
        self.observe
    }

    /// When it expires; exclusive.
    #[must_use]
    pub fn expire_time(&self) -> Option<DateTime<Utc>> {
        self.standing.expire_time()
    }

    /// The state at `now`.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        self.standing.state(now)
    }

    /// What it may do.
    #[must_use]
    pub fn rules(&self) -> &Arc<Rules> {
        &self.rules
    }

    /// The same key with the rules at another place in memory, where they are equal; else as it is.
    #[must_use]
    pub fn sharing(self, rules: Arc<Rules>) -> Self {
        if rules == self.rules { Self { rules, ..self } } else { self }
    }

    /// Whether it holds a scope that answers for `asked`, reserved ones included; whatever is observed.
    #[must_use]
    pub fn grants_scope(&self, asked: &str) -> bool {
        self.rules.scopes.grants(asked)
    }

    /// Whether [`super::evaluate`] would let a request for this model pass check 9, all else aside. With that check
    /// only observed, every model passes.
    #[must_use]
    pub fn allows_model(&self, model: &[u8]) -> bool {
        self.observe.contains(Check::Models) || self.rules.models.allows(model)
    }
}

impl Rules {
    /// Bytes that it takes on the heap and for itself, about: what the allocator adds is guessed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Self { ips, endpoints, models, chatbots, scopes, permissions } = self;
        size_of::<Self>()
            + ips.0.as_ref().map_or(0, AddressTable::heap_bytes)
            + endpoints.0.as_ref().map_or(0, EndpointTable::heap_bytes)
            + models.0.as_ref().map_or(0, PrefixTable::heap_bytes)
            + chatbots.0.as_ref().map_or(0, PrefixTable::heap_bytes)
            + scopes.named.heap_bytes()
            + permissions.0.heap_bytes()
    }
}

/// A rule over names. `None` is ANY.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct NameRule(Option<PrefixTable>);

impl NameRule {
    fn compile(rule: &AccessRule<NamePattern>) -> Self {
        Self(match rule {
            AccessRule::Any => None,
            AccessRule::Only(patterns) => Some(patterns.iter().map(NamePattern::stem).collect()),
        })
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// What is no name is never allowed.
    pub(super) fn allows(&self, value: &[u8]) -> bool {
        let Some(name) = parse_name(value) else { return false };
        self.0.as_ref().is_none_or(|table| table.contains(name))
    }
}

/// A rule over client addresses. `None` is ANY.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct AddressRule(Option<AddressTable>);

impl AddressRule {
    fn compile(rule: &AccessRule<AddressPattern>) -> Self {
        Self(match rule {
            AccessRule::Any => None,
            AccessRule::Only(patterns) => Some(patterns.iter().collect()),
        })
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// What is no address is never allowed.
    pub(super) fn allows(&self, value: &[u8]) -> bool {
        let Some(address) = parse_client_ip(value) else { return false };
        self.0.as_ref().is_none_or(|table| table.contains(address))
    }
}

/// A rule over endpoints. `None` is ANY.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndpointRule(Option<EndpointTable>);

/// Paths for every method, and for each method that patterns name, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EndpointTable {
    every_method: PrefixTable,
    by_method: Box<[(Box<str>, PrefixTable)]>,
}

impl EndpointRule {
    fn compile(rule: &AccessRule<EndpointPattern>) -> Self {
        let AccessRule::Only(patterns) = rule else { return Self(None) };
        let mut pairs: Vec<(&str, Stem<'_>)> = patterns
            .iter()
            .flat_map(|pattern| pattern.methods().map(|method| (method, pattern.stem())))
            .collect();
        pairs.sort_by_key(|(method, _)| *method);
        Self(Some(EndpointTable {
            every_method: patterns
                .iter()
                .filter(|pattern| pattern.methods().next().is_none())
                .map(EndpointPattern::stem)
                .collect(),
            by_method: pairs
                .chunk_by(|one, other| one.0 == other.0)
                .filter_map(|chunk| {
                    let (method, _) = chunk.first()?;
                    Some((Box::from(*method), chunk.iter().map(|(_, stem)| *stem).collect()))
                })
                .collect(),
        }))
    }

    pub(super) fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// Takes a normalised path. Without a method, only patterns without methods match.
    pub(super) fn allows(&self, path: &str, method: Option<&str>) -> bool {
        self.0.as_ref().is_none_or(|table| {
            table.every_method.contains(path)
                || method
                    .is_some_and(|method| table.for_method(method).is_some_and(|paths| paths.contains(path)))
        })
    }
}

impl EndpointTable {
    fn heap_bytes(&self) -> usize {
        let by_method = self.by_method.iter();
        let of_methods = by_method
            .map(|(method, paths)| size_of::<(Box<str>, PrefixTable)>() + method.len() + paths.heap_bytes());
        self.every_method.heap_bytes() + of_methods.sum::<usize>()
    }

    fn for_method(&self, method: &str) -> Option<&PrefixTable> {
        let at = self.by_method.binary_search_by(|(named, _)| (**named).cmp(method)).ok()?;
        self.by_method.get(at).map(|(_, paths)| paths)
    }
}

/// Granted scopes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ScopeTable {
    all_unreserved: bool,
    named: PrefixTable,
}

impl ScopeTable {
    fn compile<'a>(scopes: impl Iterator<Item = &'a Scope> + Clone) -> Self {
        Self {
            all_unreserved: scopes.clone().any(|scope| scope.grant() == Grant::All),
            named: scopes
                .filter_map(|scope| match scope.grant() {
                    Grant::All => None,
                    Grant::Below(prefix) => Some(Stem::Prefix(prefix)),
                    Grant::Exactly(scope) => Some(Stem::Exact(scope)),
                })
                .collect(),
        }
    }

    /// What is not a literal scope is never granted.
    pub(super) fn grants(&self, asked: &str) -> bool {
        is_literal_scope(asked) && (self.named.contains(asked) || self.all_unreserved && !is_reserved(asked))
    }
}

/// Granted permissions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PermissionTable(PrefixTable);

impl PermissionTable {
    fn compile<'a>(permissions: impl Iterator<Item = &'a Permission>) -> Self {
        Self(permissions.map(|permission| Stem::Exact(permission.as_str())).collect())
    }

    pub(super) fn grants(&self, asked: &str) -> bool {
        self.0.contains(asked)
    }
}

#[cfg(test)]
mod tests;
