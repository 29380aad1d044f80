//! What a caller asks: one question about one key, borrowed from its message.
//!
//! Two kinds of content. What the *end user* controls (model, endpoint, method, chatbot, address) is bytes of any
//! content and length and can only lead to a decision. What the *calling service* controls (scopes, permissions,
//! `not_applicable`) was validated before; here too, a scope that is none is simply not granted.

/// A part of a request that a caller may declare not applicable. The client's address is none: a rule on
/// addresses cannot be declared away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The model.
    Model,
    /// The endpoint.
    Endpoint,
    /// The chatbot.
    Chatbot,
}

impl Dimension {
    const fn bit(self) -> u8 {
        match self {
            Self::Model => 1 << 0,
            Self::Endpoint => 1 << 1,
            Self::Chatbot => 1 << 2,
        }
    }
}

/// A set of dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DimensionSet(u8);

impl DimensionSet {
    /// None of them.
    pub const EMPTY: Self = Self(0);

    /// This set and `dimension`.
    #[must_use]
    pub const fn with(self, dimension: Dimension) -> Self {
        Self(self.0 | dimension.bit())
    }

    /// Whether `dimension` is in it.
    #[must_use]
    pub const fn contains(self, dimension: Dimension) -> bool {
        self.0 & dimension.bit() != 0
    }
}

/// One question. Absent (`None`) is not the same as empty: an empty value is malformed and denied for every key, so
/// a caller whose messages cannot tell the two apart maps empty to `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessRequest<'a> {
    /// The model that is called.
    pub model: Option<&'a [u8]>,
    /// Path of the call; query and fragment are ignored.
    pub endpoint: Option<&'a [u8]>,
    /// Method of the call.
    pub method: Option<&'a [u8]>,
    /// The chatbot that is called.
    pub chatbot_id: Option<&'a [u8]>,
    /// The end user's address as text.
    pub client_ip: Option<&'a [u8]>,
    /// Scopes that the call needs, all of them.
    pub scopes: &'a [String],
    /// Permissions that the call needs, all of them.
    pub permissions: &'a [String],
    /// What a call of this kind never names (a list of models names no model). It matters only where the value is
    /// absent: what is given is checked.
    pub not_applicable: DimensionSet,
}

#[cfg(test)]
mod tests {
    use super::{Dimension, DimensionSet};

    #[test]
    fn a_set_of_dimensions_holds_exactly_what_was_put_in() {
        let all = [Dimension::Model, Dimension::Endpoint, Dimension::Chatbot];
        for put in all {
            let set = DimensionSet::EMPTY.with(put);
            for asked in all {
                assert_eq!(set.contains(asked), asked == put);
                assert!(set.with(asked).contains(asked) && set.with(asked).contains(put));
            }
        }
    }
}
