//! The addresses of a broker, and which of them is used next.

use std::collections::VecDeque;
use std::fmt;

use crate::broker_address::BrokerAddress;
use crate::dial::proxy::ProxyChoice;

/// One address of a broker.
#[derive(Debug, Clone)]
pub struct BrokerNode {
    /// Host and port.
    pub address: BrokerAddress,
    /// The proxy that leads there.
    pub proxy: ProxyChoice,
}

impl From<BrokerAddress> for BrokerNode {
    /// Without a proxy.
    fn from(address: BrokerAddress) -> Self {
        Self { address, proxy: ProxyChoice::None }
    }
}

/// The addresses of a broker: one, or one of each node of a cluster. One of them is current.
///
/// They are tried in turn, in an order that is random for each client, so that a fleet is spread
/// evenly over the nodes.
#[derive(Debug, Clone)]
pub struct Brokers {
    current: BrokerNode,
    /// In the order in which they come next.
    others: VecDeque<BrokerNode>,
}

impl Brokers {
    /// Begins with any of them. `None` if there are none.
    #[must_use]
    pub fn new(mut nodes: Vec<BrokerNode>) -> Option<Self> {
        fastrand::shuffle(&mut nodes);
        let current = nodes.pop()?;
        Some(Self { current, others: nodes.into() })
    }

    /// The one to connect to.
    #[must_use]
    pub fn current(&self) -> &BrokerNode {
        &self.current
    }

    /// Whether there is more than one.
    #[must_use]
    pub fn are_several(&self) -> bool {
        !self.others.is_empty()
    }

    /// Makes the next one the current one. The former one comes again after all others.
    pub fn advance(&mut self) {
        if let Some(next) = self.others.pop_front() {
            self.others.push_back(std::mem::replace(&mut self.current, next));
        }
    }

    /// The same, each reached without a proxy.
    #[must_use]
    pub fn without_proxies(mut self) -> Self {
        let Self { current, others } = &mut self;
        for node in [current].into_iter().chain(others) {
            node.proxy = ProxyChoice::None;
        }
        self
    }

    fn nodes(&self) -> impl Iterator<Item = &BrokerNode> {
        [&self.current].into_iter().chain(&self.others)
    }

    /// The proxies that lead to them, or why none is used.
    #[must_use]
    pub fn proxies(&self) -> String {
        let mut shown: Vec<String> = self.nodes().map(|node| node.proxy.to_string()).collect();
        shown.sort();
        shown.dedup();
        shown.join(", ")
    }
}

impl From<BrokerAddress> for Brokers {
    /// One, without a proxy.
    fn from(address: BrokerAddress) -> Self {
        Self { current: address.into(), others: VecDeque::new() }
    }
}

impl fmt::Display for Brokers {
    /// All addresses, sorted.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown: Vec<String> = self.nodes().map(|node| node.address.to_string()).collect();
        shown.sort();
        formatter.write_str(&shown.join(","))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn brokers(count: usize) -> Brokers {
        let node = |number| {
            let address = format!("node{number}");
            BrokerAddress::from_settings(&address, None, 1883).unwrap().into()
        };
        Brokers::new((0..count).map(node).collect()).unwrap()
    }

    fn next(brokers: &mut Brokers) -> String {
        brokers.advance();
        brokers.current().address.to_string()
    }

    #[test]
    fn each_is_tried_before_one_is_tried_again() {
        for count in 1..=5 {
            let mut brokers = brokers(count);
            for _ in 0..3 {
                let last = brokers.current().address.to_string();
                let round: Vec<String> = (0..count).map(|_| next(&mut brokers)).collect();
                assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), count);
                assert_eq!(round.last(), Some(&last), "it comes after all others");
            }
        }
    }

    #[test]
    fn a_fleet_is_spread_evenly_at_first_and_when_a_node_is_lost() {
        let mut fleet: Vec<Brokers> = (0..3000).map(|_| brokers(3)).collect();
        let share = |fleet: &[Brokers], host: &str| {
            fleet.iter().filter(|one| one.current().address.host() == host).count()
        };
        for host in ["node0", "node1", "node2"] {
            assert!((850..1150).contains(&share(&fleet, host)), "{}", share(&fleet, host));
        }
        for one in &mut fleet {
            if one.current().address.host() == "node0" {
                one.advance();
            }
        }
        assert_eq!(share(&fleet, "node0"), 0);
        assert!((1300..1700).contains(&share(&fleet, "node1")), "{}", share(&fleet, "node1"));
    }

    #[test]
    fn all_are_shown() {
        assert_eq!(brokers(3).to_string(), "node0:1883,node1:1883,node2:1883");
        assert_eq!(brokers(3).proxies(), "none");
    }
}
