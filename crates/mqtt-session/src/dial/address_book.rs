//! What is known about addresses, over all connections of a process.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::names::Names;

/// Most addresses that are remembered.
const MAX_SUSPECTS: usize = 32;

/// Resolves host names, and remembers which addresses did not work. Clones share what they know.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    pub(crate) names: Names,
    /// Addresses that were connected to, and have not worked since; the longest ago first. Behind
    /// a lock, because a session and a watcher may use them at the same time.
    suspects: Arc<Mutex<VecDeque<SocketAddr>>>,
}

impl AddressBook {
    /// Each name has these addresses.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn fixed(addresses: Vec<std::net::IpAddr>) -> Self {
        let names = Names::with(move |_, family| {
            let is_asked =
                |ip: &&std::net::IpAddr| ip.is_ipv4() == (family == super::race::Family::V4);
            let found = addresses.iter().filter(is_asked);
            Ok(found.map(|ip| SocketAddr::new(*ip, 0)).collect())
        });
        Self { names, ..Self::default() }
    }

    /// An address is used. Until [`proved`](Self::proved), others are preferred the next time:
    /// it may accept connections and never answer.
    pub(crate) fn used(&self, address: SocketAddr) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|suspect| *suspect != address);
        if suspects.len() == MAX_SUSPECTS {
            suspects.pop_front();
        }
        suspects.push_back(address);
    }

    /// The broker at an address serves this client.
    pub(crate) fn proved(&self, address: SocketAddr) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|suspect| *suspect != address);
    }

    /// The addresses that did not work, the longest ago first.
    pub(crate) fn suspects(&self) -> Vec<SocketAddr> {
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.iter().copied().collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_suspect_from_its_use_until_it_is_proved() {
        let book = AddressBook::default();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        for port in [1, 2, 1] {
            book.clone().used(address(port));
        }
        assert_eq!(book.suspects(), [address(2), address(1)]);
        book.proved(address(2));
        assert_eq!(book.suspects(), [address(1)]);
        (0..100).for_each(|port| book.used(address(port)));
        assert_eq!(book.suspects().len(), MAX_SUSPECTS);
    }
}
