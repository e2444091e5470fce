use crate::address::{Address, Ranges};
use crate::sdk::testing::{faults, get};
use crate::IpFilter;

fn bits(text: &str) -> Option<(bool, u128)> {
    Address::parse(text).map(|address| (address.is_v4, address.bits))
}

#[test]
fn addresses_are_read_as_they_are_written() {
    for (text, value) in [
        ("192.0.2.1", (true, 0xc000_0201)),
        ("0.0.0.0", (true, 0)),
        ("255.255.255.255", (true, 0xffff_ffff)),
        ("::", (false, 0)),
        ("::1", (false, 1)),
        (
            "2001:DB8::8:800:200c:417a",
            (false, 0x2001_0db8_0000_0000_0008_0800_200c_417a),
        ),
        (
            "1:2:3:4:5:6:7:8",
            (false, 0x0001_0002_0003_0004_0005_0006_0007_0008),
        ),
        ("1::", (false, 1 << 112)),
        (
            "1:2:3:4:5:6:7::",
            (false, 0x0001_0002_0003_0004_0005_0006_0007_0000),
        ),
        ("::ffff:192.0.2.1", (true, 0xc000_0201)),
        ("::ffff:c000:201", (true, 0xc000_0201)),
        (
            "64:ff9b::192.0.2.1",
            (false, (0x0064_ff9b << 96) | 0xc000_0201),
        ),
    ] {
        assert_eq!(bits(text), Some(value), "{text}");
    }
}

#[test]
fn what_is_no_address_is_none() {
    for text in [
        "",
        "1",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.04",
        "1.2.3.",
        ".1.2.3",
        "1.2.3.4 ",
        "+1.2.3.4",
        "0x1.2.3.4",
        "1.2.3.4567",
        "localhost",
        ":",
        ":::",
        "1:",
        ":1",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        "12345::",
        "g::",
        "::1%eth0",
        "[::1]",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "1.2.3.4::",
        "::1.2.3",
        "::1.2.3.4:5",
        "1:2:3:4:5:6:7:1.2.3.4",
        "1:2:3:4:5:6:1.2.3.4::",
        "::-1",
        "1:::2",
    ] {
        assert_eq!(bits(text), None, "{text}");
    }
}

#[test]
fn ranges_hold_their_first_and_last_address_and_no_other() {
    let mut ranges = Ranges::new();
    for text in [
        "10.0.0.0/8",
        "192.0.2.128/25",
        "192.0.2.7",
        "2001:db8::/32",
        "::1",
        "10.20.0.0/16",
        "::ffff:203.0.113.0/120",
        "0.0.0.0/32",
    ] {
        assert_eq!(ranges.add(text), Ok(()), "{text}");
    }
    ranges.order();
    for (text, is_in) in [
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.20.3.4", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("192.0.2.127", false),
        ("192.0.2.128", true),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("::ffff:10.1.1.1", true),
        ("203.0.113.255", true),
        ("203.0.114.0", false),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", true),
        ("2001:db9::", false),
        ("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ("::1", true),
        ("::", false),
        ("0.0.0.0", true),
        ("0.0.0.1", false),
    ] {
        assert_eq!(
            ranges.contains(Address::parse(text).unwrap()),
            is_in,
            "{text}"
        );
    }
}

#[test]
fn a_range_of_everything_is_of_one_family() {
    for (text, v4, v6) in [("0.0.0.0/0", true, false), ("::/0", false, true)] {
        let mut ranges = Ranges::new();
        ranges.add(text).unwrap();
        ranges.order();
        assert_eq!(ranges.contains(Address::parse("192.0.2.1").unwrap()), v4);
        assert_eq!(
            ranges.contains(Address::parse("::ffff:192.0.2.1").unwrap()),
            v4
        );
        assert_eq!(ranges.contains(Address::parse("2001:db8::1").unwrap()), v6);
    }
}

#[test]
fn many_ranges_in_any_order_are_found() {
    let mut ranges = Ranges::new();
    let mut seed: u32 = 7;
    let mut added = Vec::new();
    for _ in 0..2_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [a, b, c, _] = seed.to_be_bytes();
        added.push(seed >> 8);
        ranges.add(&format!("{a}.{b}.{c}.0/24")).unwrap();
    }
    ranges.order();
    for step in 0..20_000_u32 {
        let bits = step.wrapping_mul(2_654_435_761);
        let address = Address {
            is_v4: true,
            bits: bits.into(),
        };
        assert_eq!(
            ranges.contains(address),
            added.contains(&(bits >> 8)),
            "{bits:x}"
        );
    }
}

#[test]
fn to_be_denied_wins_and_every_list_must_agree() {
    let config = r#"{ "allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"],
        "country": { "header": "x-country", "allow": ["DE"], "absent": "allow" } }"#;
    for (ip, country, reason) in [
        ("10.2.0.1", "de", ""),
        ("10.2.0.1", "", ""),
        ("10.1.0.1", "DE", "the address is denied"),
        ("::ffff:10.1.0.1", "DE", "the address is denied"),
        ("11.0.0.1", "DE", "the address is not among those allowed"),
        ("10.2.0.1", "FR", "the country is not among those allowed"),
        (
            "10.2.0.1",
            "DE, DE",
            "the country is not one of two letters",
        ),
        ("unix:", "DE", "the client has no address"),
    ] {
        let call = get("/")
            .client_ip(ip)
            .header("x-country", country)
            .config(config);
        assert_eq!(call.decide::<IpFilter>().reason, reason, "{ip} {country}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_every_fault() {
    assert!(faults::<IpFilter>("{}").contains("or nothing is filtered"));
    let all = faults::<IpFilter>(
        r#"{ "allow": ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "x", "::1/129"],
            "country": { "header": "x y", "deny": ["Germany"] } }"#,
    );
    let wrong = "must be an address or a range such as";
    for sentence in [
        "allow[0] must have no bits behind its length",
        &["allow[1] ", wrong].concat(),
        &["allow[2] ", wrong].concat(),
        &["allow[3] ", wrong].concat(),
        &["allow[4] ", wrong].concat(),
        &["allow[5] ", wrong].concat(),
        "country.header must be a header's name",
        "country.deny must be countries of two capital letters",
        "country.absent is missing",
    ] {
        assert!(all.contains(sentence), "{sentence}\n{all}");
    }
}
