//! The answer: allowed, or denied for one reason.

use std::fmt;

use super::check::Check;

/// Why a request is denied. Each belongs to one check; the first check that fails decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Check 1: no such token, wrong secret, or a deleted key. One reason, so that existence is not revealed.
    KeyInvalid,
    /// Check 2.
    KeyRevoked,
    /// Check 3.
    OwnerDisabled,
    /// Check 4.
    KeyExpired,
    /// Check 5: the address is outside the rule, absent where there is one, or no address.
    IpNotAllowed,
    /// Check 6: the endpoint or its method is ambiguous or none, which no key allows.
    EndpointMalformed,
    /// Check 6: outside the rule, or absent where there is one.
    EndpointNotAllowed,
    /// Check 7.
    ScopeMissing,
    /// Check 8.
    PermissionMissing,
    /// Check 9: outside the rule, absent where there is one, or no model's name.
    ModelNotAllowed,
    /// Check 10: as for models.
    ChatbotNotAllowed,
    /// Check 11. Never given by [`super::evaluate`].
    RateLimited,
    /// Check 12. Never given by [`super::evaluate`].
    BudgetExceeded,
}

impl Reason {
    /// All of them, in the order of their checks.
    pub const ALL: [Self; 13] = [
        Self::KeyInvalid,
        Self::KeyRevoked,
        Self::OwnerDisabled,
        Self::KeyExpired,
        Self::IpNotAllowed,
        Self::EndpointMalformed,
        Self::EndpointNotAllowed,
        Self::ScopeMissing,
        Self::PermissionMissing,
        Self::ModelNotAllowed,
        Self::ChatbotNotAllowed,
        Self::RateLimited,
        Self::BudgetExceeded,
    ];

    /// Its name in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyInvalid => "KEY_INVALID",
            Self::KeyRevoked => "KEY_REVOKED",
            Self::OwnerDisabled => "OWNER_DISABLED",
            Self::KeyExpired => "KEY_EXPIRED",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::EndpointMalformed => "ENDPOINT_MALFORMED",
            Self::EndpointNotAllowed => "ENDPOINT_NOT_ALLOWED",
            Self::ScopeMissing => "SCOPE_MISSING",
            Self::PermissionMissing => "PERMISSION_MISSING",
            Self::ModelNotAllowed => "MODEL_NOT_ALLOWED",
            Self::ChatbotNotAllowed => "CHATBOT_NOT_ALLOWED",
            Self::RateLimited => "RATE_LIMITED",
            Self::BudgetExceeded => "BUDGET_EXCEEDED",
        }
    }

    /// The HTTP status that a gateway would answer its client with.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::KeyInvalid | Self::KeyRevoked | Self::OwnerDisabled | Self::KeyExpired => 401,
            Self::IpNotAllowed
            | Self::EndpointMalformed
            | Self::EndpointNotAllowed
            | Self::ScopeMissing
            | Self::PermissionMissing
            | Self::ModelNotAllowed
            | Self::ChatbotNotAllowed => 403,
            Self::RateLimited => 429,
            Self::BudgetExceeded => 402,
        }
    }

    /// One plain sentence for a person. It holds nothing of the request and of the key.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::KeyInvalid => "The API key is not valid.",
            Self::KeyRevoked => "The API key has been revoked.",
            Self::OwnerDisabled => "The owner of the API key is disabled.",
            Self::KeyExpired => "The API key has expired.",
            Self::IpNotAllowed => "The API key may not be used from this address.",
            Self::EndpointMalformed => "The endpoint or its method is malformed.",
            Self::EndpointNotAllowed => "The API key may not be used for this endpoint.",
            Self::ScopeMissing => "The API key lacks a scope that this request needs.",
            Self::PermissionMissing => "The API key lacks a permission that this request needs.",
            Self::ModelNotAllowed => "The API key may not be used for this model.",
            Self::ChatbotNotAllowed => "The API key may not be used for this chatbot.",
            Self::RateLimited => "A rate limit of the API key or of its owner is used up for now.",
            Self::BudgetExceeded => "A budget of the API key or of its owner is used up.",
        }
    }

    /// The check that it belongs to; `None` for checks 1 to 4, which cannot be observed.
    #[must_use]
    pub const fn check(self) -> Option<Check> {
        match self {
            Self::KeyInvalid | Self::KeyRevoked | Self::OwnerDisabled | Self::KeyExpired => None,
            Self::IpNotAllowed => Some(Check::Ips),
            Self::EndpointMalformed | Self::EndpointNotAllowed => Some(Check::Endpoints),
            Self::ScopeMissing => Some(Check::Scopes),
            Self::PermissionMissing => Some(Check::Permissions),
            Self::ModelNotAllowed => Some(Check::Models),
            Self::ChatbotNotAllowed => Some(Check::Chatbots),
            Self::RateLimited => Some(Check::RateLimits),
            Self::BudgetExceeded => Some(Check::Budgets),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(out)
    }
}

/// What [`super::evaluate`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The first check that failed and is enforced; `None` means allowed.
    pub denied: Option<Reason>,
    /// The first check that failed and was let pass because it is only observed.
    pub observed: Option<Reason>,
    /// The first scope or permission lacking, where `denied` is [`Reason::ScopeMissing`] or
    /// [`Reason::PermissionMissing`]. A text of the request.
    pub missing: Option<&'a str>,
}

impl Decision<'_> {
    /// Whether nothing denied it.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        self.denied.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Decision, Reason};

    #[test]
    fn reasons_are_listed_in_the_order_of_their_checks_under_names_of_their_own() {
        assert!(Reason::ALL.is_sorted());
        assert!(Reason::ALL.map(Reason::check).is_sorted());
        let distinct = |texts: [&'static str; 13]| BTreeSet::from(texts).len();
        assert_eq!(distinct(Reason::ALL.map(Reason::as_str)), 13);
        assert_eq!(distinct(Reason::ALL.map(Reason::message)), 13);
    }

    #[test]
    fn the_http_status_is_that_of_the_decision_table() {
        let statuses = Reason::ALL.map(Reason::http_status);
        assert_eq!(statuses, [401, 401, 401, 401, 403, 403, 403, 403, 403, 403, 403, 429, 402]);
    }

    #[test]
    fn only_a_denial_is_not_allowed() {
        assert!(Decision::default().is_allowed());
        assert!(Decision { observed: Some(Reason::IpNotAllowed), ..Decision::default() }.is_allowed());
        assert!(!Decision { denied: Some(Reason::IpNotAllowed), ..Decision::default() }.is_allowed());
    }
}
