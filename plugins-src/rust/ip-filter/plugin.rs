//! Lets requests pass by the client's address, and by the country that a trusted edge found for it. To
//! be denied wins over being allowed.

#[macro_use]
#[path = "../sdk/lib.rs"]
mod sdk;
mod address;
#[cfg(test)]
mod tests;

use address::{Address, Ranges};
use sdk::text::{concat, digits};
use sdk::{Decision, Policy, Request, Table};

struct Countries {
    header: String,
    allow: Vec<String>,
    deny: Vec<String>,
    /// What becomes of a request without the header.
    denies_absent: bool,
}

struct IpFilter {
    allow: Ranges,
    deny: Ranges,
    countries: Option<Countries>,
    status: u16,
}

impl Policy for IpFilter {
    fn new(config: &Table) -> Self {
        let filter = IpFilter {
            allow: read_ranges(config, "allow"),
            deny: read_ranges(config, "deny"),
            countries: config
                .at("country")
                .table()
                .map(|table| read_countries(&table)),
            status: config.at("status").whole(403, 400..=499) as u16,
        };
        if !["allow", "deny", "country"]
            .iter()
            .any(|key| config.has(key))
        {
            config.fault(
                "allow",
                "or deny or country must be there, or nothing is filtered",
            );
        }
        filter
    }

    fn on_request(&self, request: &Request) -> Decision {
        match self.refusal(request) {
            None => Decision::pass(),
            Some(reason) => Decision::deny(self.status, "Not from this address.\n").because(reason),
        }
    }
}

export!(IpFilter: on_request);

impl IpFilter {
    fn refusal(&self, request: &Request) -> Option<&'static str> {
        let address = match Address::parse(&request.client_ip()) {
            None => return Some("the client has no address"),
            Some(address) => address,
        };
        if self.deny.contains(address) {
            return Some("the address is denied");
        }
        if !self.allow.is_empty() && !self.allow.contains(address) {
            return Some("the address is not among those allowed");
        }
        self.countries.as_ref()?.refusal(request)
    }
}

impl Countries {
    fn refusal(&self, request: &Request) -> Option<&'static str> {
        let country = match request.header(&self.header) {
            None if self.denies_absent => return Some("the country is not known"),
            None => return None,
            Some(country) => country.to_ascii_uppercase(),
        };
        // Two headers are joined, and then no country.
        if !is_country(&country) {
            return Some("the country is not one of two letters");
        }
        if self.deny.contains(&country) {
            return Some("the country is denied");
        }
        if !self.allow.is_empty() && !self.allow.contains(&country) {
            return Some("the country is not among those allowed");
        }
        None
    }
}

fn read_ranges(config: &Table, key: &'static str) -> Ranges {
    let mut ranges = Ranges::new();
    for (index, text) in config.at(key).filled().texts().iter().enumerate() {
        if let Err(wrong) = ranges.add(text) {
            config.fault(&concat(&[key, "[", &digits(index), "]"]), wrong);
        }
    }
    ranges.order();
    ranges
}

fn read_countries(table: &Table) -> Countries {
    let countries = Countries {
        header: table.at("header").required().header_name("x-country"),
        allow: table.at("allow").filled().texts(),
        deny: table.at("deny").filled().texts(),
        denies_absent: table.at("absent").required().choice(&["allow", "deny"]) == 1,
    };
    for (key, list) in [("allow", &countries.allow), ("deny", &countries.deny)] {
        if !list.iter().all(|country| is_country(country)) {
            table.fault(key, "must be countries of two capital letters, such as DE");
        }
    }
    if !table.has("allow") && !table.has("deny") {
        table.fault("allow", "or deny must name a country");
    }
    countries
}

fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_uppercase())
}
