//! Addresses and CIDRs, IPv4 and IPv6.
//!
//! An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is the IPv4 address, in patterns and in requests. Therefore an
//! IPv6 pattern never covers IPv4 clients, not even `::/0`; `::ffff:0:0/96` is `0.0.0.0/0`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::pattern_error::PatternError;

/// Longest text of an address: eight groups of which the last two are written as IPv4.
const ADDRESS_BYTES_MAX: usize = 45;

const V4_BITS: u8 = 32;
const V6_BITS: u8 = 128;
const MAPPED_BITS: u8 = V6_BITS - V4_BITS;

/// One address or CIDR in canonical form: no host bits, nothing IPv4-mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressPattern {
    network: IpAddr,
    prefix_len: u8,
}

impl AddressPattern {
    /// Parses `192.0.2.1`, `192.0.2.0/24`, `2001:db8::1` or `2001:db8::/32`.
    ///
    /// # Errors
    /// [`PatternError`]: not an address (zone ids included), a prefix length that is none, host bits set.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PatternError::Address)?;
        let prefix_len = prefix_len.map_or(Ok(address_bits(address)), parse_prefix_len)?;
        Self::new(address, prefix_len)
    }

    /// The network of `prefix_len` bits at `network`.
    ///
    /// # Errors
    /// [`PatternError::PrefixLength`] beyond 32 or 128 bits, [`PatternError::HostBits`] when `network` has bits
    /// set after its prefix.
    pub fn new(network: IpAddr, prefix_len: u8) -> Result<Self, PatternError> {
        if prefix_len > address_bits(network) {
            return Err(PatternError::PrefixLength);
        }
        if network.is_ipv6() != network.to_canonical().is_ipv6() {
            // Bits 80 to 95 of a mapped address are set, so a shorter prefix has host bits.
            let mapped_len = prefix_len.checked_sub(MAPPED_BITS).ok_or(PatternError::HostBits)?;
            return Self::new(network.to_canonical(), mapped_len);
        }
        let pattern = Self { network, prefix_len };
        if pattern.first() == network { Ok(pattern) } else { Err(PatternError::HostBits) }
    }

    /// The network's lowest address.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// Bits of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    /// Whether `address` lies in the network; an IPv4-mapped one counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.network.is_ipv4() && self.network <= address && address <= self.last()
    }

    fn first(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(network) => (network & !v4_host_mask(self.prefix_len)).into(),
            IpAddr::V6(network) => (network & !v6_host_mask(self.prefix_len)).into(),
        }
    }

    /// The network's highest address.
    pub(super) fn last(&self) -> IpAddr {
        match self.network {
            IpAddr::V4(network) => (network | v4_host_mask(self.prefix_len)).into(),
            IpAddr::V6(network) => (network | v6_host_mask(self.prefix_len)).into(),
        }
    }
}

/// A bare address when the prefix is its full length, else a CIDR.
impl fmt::Display for AddressPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix_len == address_bits(self.network) {
            write!(out, "{}", self.network)
        } else {
            write!(out, "{}/{}", self.network, self.prefix_len)
        }
    }
}

/// The address that a request gives, IPv4-mapped ones as IPv4. `None` for what is no bare address: zone ids,
/// ports, brackets, spaces, leading zeros.
#[must_use]
pub fn parse_client_ip(value: &[u8]) -> Option<IpAddr> {
    if value.len() > ADDRESS_BYTES_MAX {
        return None;
    }
    let address: IpAddr = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

fn parse_prefix_len(text: &str) -> Result<u8, PatternError> {
    // `u8::from_str` alone would take "+8" and "008".
    let is_canonical =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_canonical {
        text.parse().map_err(|_| PatternError::PrefixLength)
    } else {
        Err(PatternError::PrefixLength)
    }
}

fn address_bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { V4_BITS } else { V6_BITS }
}

fn v4_host_mask(prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0))
}

fn v6_host_mask(prefix_len: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0))
}

/// Many patterns, looked up at once by binary search.
///
/// Two networks are nested or disjoint; the nested ones are left out, so at most one range can hold an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct AddressTable(Box<[(IpAddr, IpAddr)]>);

impl AddressTable {
    /// Bytes on the heap, about.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Whether any pattern contains this address, which [`parse_client_ip`] has made canonical.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

impl<'a> FromIterator<&'a AddressPattern> for AddressTable {
    fn from_iter<I: IntoIterator<Item = &'a AddressPattern>>(patterns: I) -> Self {
        let mut ranges: Vec<_> =
            patterns.into_iter().map(|pattern| (pattern.network(), pattern.last())).collect();
        // At one start the widest comes first, so that it is the one kept. IPv4 sorts before IPv6.
        ranges.sort_unstable_by_key(|(first, last)| (*first, std::cmp::Reverse(*last)));
        ranges.dedup_by(|inner, kept| inner.1 <= kept.1);
        Self(ranges.into())
    }
}

#[cfg(test)]
mod tests;
