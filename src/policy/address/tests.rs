//! Addresses and CIDRs: what parses, what contains what, and the table against its patterns one by one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::prop_assert_eq;

use super::{AddressPattern, AddressTable, parse_client_ip};
use crate::policy::PatternError;

fn pattern(text: &str) -> AddressPattern {
    AddressPattern::parse(text).unwrap()
}

fn contains(cidr: &str, address: &str) -> bool {
    pattern(cidr).contains(address.parse().unwrap())
}

#[test]
fn a_pattern_is_shown_in_canonical_form() {
    for (given, kept) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1/32", "192.0.2.1"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:DB8:0:0::/32", "2001:db8::/32"),
        ("::1/128", "::1"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::ffff:c000:0200/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ] {
        assert_eq!(pattern(given).to_string(), kept);
        assert_eq!(pattern(kept), pattern(given), "the canonical form parses to itself");
    }
    let cidr = pattern("::ffff:c000:0200/120");
    assert_eq!((cidr.network(), cidr.prefix_len()), (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 0)), 24));
}

#[test]
fn what_is_no_address_is_refused_with_its_reason() {
    use PatternError::{Address, HostBits, PrefixLength};
    for (bad, why) in [
        ("", Address),
        ("*", Address),
        ("10.0.0", Address),
        ("10.0.0.256", Address),
        ("010.0.0.1", Address),
        (" 10.0.0.1", Address),
        ("10.0.0.1:80", Address),
        ("[::1]", Address),
        ("fe80::1%eth0", Address),
        ("fe80::%1/64", Address),
        ("example.org", Address),
        ("10.0.0.0/", PrefixLength),
        ("10.0.0.0/33", PrefixLength),
        ("10.0.0.0/+8", PrefixLength),
        ("10.0.0.0/08", PrefixLength),
        ("10.0.0.0/-1", PrefixLength),
        ("10.0.0.0/8/8", PrefixLength),
        ("10.0.0.0/255.0.0.0", PrefixLength),
        ("10.0.0.0/256", PrefixLength),
        ("::/129", PrefixLength),
        ("10.0.0.1/8", HostBits),
        ("10.0.0.1/31", HostBits),
        ("10.0.0.1/0", HostBits),
        ("2001:db8::1/32", HostBits),
        ("::1/127", HostBits),
        ("::ffff:0:0/95", HostBits),
        ("::ffff:10.0.0.1/104", HostBits),
        ("::ffff:10.0.0.0/8", HostBits),
    ] {
        assert_eq!(AddressPattern::parse(bad), Err(why), "{bad}");
    }
}

#[test]
fn a_cidr_contains_its_borders_and_not_their_neighbours() {
    for (cidr, inside, outside) in [
        ("192.0.2.0/24", ["192.0.2.0", "192.0.2.255"], ["192.0.1.255", "192.0.3.0"]),
        ("192.0.2.8/30", ["192.0.2.8", "192.0.2.11"], ["192.0.2.7", "192.0.2.12"]),
        ("192.0.2.8", ["192.0.2.8", "::ffff:192.0.2.8"], ["192.0.2.9", "::192.0.2.8"]),
        ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::", "::1"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db7:ffff::", "2001:db9::"]),
        ("::/0", ["::", "ffff::ffff"], ["10.0.0.1", "::ffff:10.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.1.2.3", "::ffff:10.1.2.3"], ["11.0.0.0", "::a01:203"]),
    ] {
        for address in inside {
            assert!(contains(cidr, address), "{address} in {cidr}");
        }
        for address in outside {
            assert!(!contains(cidr, address), "{address} not in {cidr}");
        }
    }
}

#[test]
fn a_client_address_is_bare_and_mapped_ones_are_ipv4() {
    let v4 = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(parse_client_ip(b"192.0.2.1"), v4);
    assert_eq!(parse_client_ip(b"::ffff:192.0.2.1"), v4);
    assert_eq!(parse_client_ip(b"::FFFF:c000:201"), v4);
    assert_eq!(parse_client_ip(b"0000:0000:0000:0000:0000:ffff:192.000.002.001"), None);
    assert_eq!(
        parse_client_ip(b"0000:0000:0000:0000:0000:ffff:192.168.102.101").map(|ip| ip.is_ipv4()),
        Some(true)
    );
    assert_eq!(parse_client_ip(b"::1"), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    for bad in [
        &b""[..],
        b" 192.0.2.1",
        b"192.0.2.1 ",
        b"192.0.2.1\n",
        b"192.0.2.1\0",
        b"192.0.2.1:80",
        b"192.0.2.0/24",
        b"192.0.2",
        b"3221225985",
        b"0xC0.0.2.1",
        b"0300.0.2.1",
        b"192.0.2.01",
        b"fe80::1%eth0",
        b"fe80::1%251",
        b"[::1]",
        b"[::1]:80",
        b"::1::",
        b"192.0.2.1, 10.0.0.1",
        b"\xff",
        "\u{0661}92.0.2.1".as_bytes(),
    ] {
        assert_eq!(parse_client_ip(bad), None, "{:?}", String::from_utf8_lossy(bad));
    }
    assert_eq!(parse_client_ip(&[b'1'; 1 << 20]), None);
}

/// Few distinct high and low bits, so that networks nest and addresses fall on borders.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..4u32, 0..8u32).prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from_bits(high << 30 | low))),
        (0..4u32, 0..8u32).prop_map(|(high, low)| IpAddr::V4(Ipv4Addr::from_bits(!(high << 30 | low)))),
        (0..4u128, 0..8u128).prop_map(|(high, low)| IpAddr::V6(Ipv6Addr::from_bits(high << 126 | low))),
        any::<Ipv4Addr>().prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
        any::<Ipv4Addr>().prop_map(IpAddr::V4),
        any::<Ipv6Addr>().prop_map(IpAddr::V6),
    ]
}

/// The network of some length around an address.
fn network() -> impl Strategy<Value = AddressPattern> {
    (address(), 0..=128u8).prop_map(|(address, length)| match address.to_canonical() {
        IpAddr::V4(v4) => {
            let length = length % 33;
            let bits = v4.to_bits() & u32::MAX.checked_shl(u32::from(32 - length)).unwrap_or(0);
            AddressPattern::new(Ipv4Addr::from_bits(bits).into(), length).unwrap()
        }
        IpAddr::V6(v6) => {
            let bits = v6.to_bits() & u128::MAX.checked_shl(u32::from(128 - length)).unwrap_or(0);
            let network = Ipv6Addr::from_bits(bits);
            // Cutting a prefix can leave a mapped address only where the address was one.
            AddressPattern::new(network.into(), length).unwrap()
        }
    })
}

proptest! {
    #[test]
    fn a_pattern_is_read_back_from_what_it_shows(network in network()) {
        prop_assert_eq!(AddressPattern::parse(&network.to_string()), Ok(network));
        prop_assert_eq!(AddressPattern::new(network.network(), network.prefix_len()), Ok(network));
    }

    #[test]
    fn any_bit_beyond_the_prefix_is_an_error(network in network(), bit in 0..128u32) {
        let changed = match network.network() {
            IpAddr::V4(v4) => {
                let bit = bit % 32;
                (bit < 32 - u32::from(network.prefix_len())).then(|| Ipv4Addr::from_bits(v4.to_bits() | 1 << bit).into())
            }
            IpAddr::V6(v6) => (bit < 128 - u32::from(network.prefix_len()))
                .then(|| Ipv6Addr::from_bits(v6.to_bits() | 1 << bit).into()),
        };
        if let Some(changed) = changed {
            prop_assert_eq!(AddressPattern::new(changed, network.prefix_len()), Err(PatternError::HostBits));
        }
    }

    #[test]
    fn mapped_patterns_and_addresses_count_as_ipv4(network in network(), address in any::<Ipv4Addr>()) {
        let mapped = IpAddr::V6(address.to_ipv6_mapped());
        prop_assert_eq!(network.contains(mapped), network.contains(IpAddr::V4(address)));
        prop_assert_eq!(parse_client_ip(mapped.to_string().as_bytes()), Some(IpAddr::V4(address)));
        if let IpAddr::V4(v4) = network.network() {
            let mapped = AddressPattern::new(IpAddr::V6(v4.to_ipv6_mapped()), network.prefix_len() + 96);
            prop_assert_eq!(mapped, Ok(network));
        }
    }

    #[test]
    fn a_zone_id_is_refused_whatever_it_is(address in any::<Ipv6Addr>(), zone in "[a-z0-9]{0,8}") {
        let zoned = format!("{address}%{zone}");
        prop_assert_eq!(parse_client_ip(zoned.as_bytes()), None);
        prop_assert_eq!(AddressPattern::parse(&zoned), Err(PatternError::Address));
        prop_assert_eq!(AddressPattern::parse(&(zoned + "/128")), Err(PatternError::Address));
    }

    #[test]
    fn a_table_answers_as_its_patterns_one_by_one(
        networks in vec(network(), 0..10),
        addresses in vec(address(), 1..10),
    ) {
        let table: AddressTable = networks.iter().collect();
        let borders = networks.iter().flat_map(|network| [network.network(), network.last()]);
        for address in addresses.into_iter().chain(borders).map(|address| address.to_canonical()) {
            let one_by_one = networks.iter().any(|network| network.contains(address));
            prop_assert_eq!(table.contains(address), one_by_one, "{} in {:?}", address, networks);
        }
    }
}
