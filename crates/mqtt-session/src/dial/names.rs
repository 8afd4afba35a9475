//! Lookups of host names, on threads of their own.
//!
//! A lookup takes as long as `/etc/resolv.conf` allows if a name server does not answer. It must
//! not hold up the blocking pool, nor the end of the process.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::race::Family;
use super::resolver::{Answer, LookupError, lookup};

/// How long an answer that nobody waited for any more is good for the next one who asks. A resolver
/// that first asks name servers that do not answer is slower than those who ask may wait.
const LATE_ANSWER: Duration = Duration::from_secs(60);

/// Stack of a thread for one lookup, in bytes.
const STACK: usize = 512 * 1024;

type Lookup = dyn Fn(&str, Family) -> Answer + Send + Sync;

/// Resolves host names. Clones share the lookups.
#[derive(Clone)]
pub(crate) struct Names {
    lookup: Arc<Lookup>,
    /// There is one lookup for a name and a family, however often it is asked for, so the number
    /// of threads is limited. Behind a lock, because their threads end them.
    table: Arc<Mutex<Table>>,
}

type Table = BTreeMap<(String, Family), Entry>;

enum Entry {
    /// A lookup in progress.
    Running(watch::Receiver<Option<Answer>>),
    /// Addresses that came too late, and when.
    Late(Vec<SocketAddr>, Instant),
}

impl Default for Names {
    fn default() -> Self {
        Self::with(lookup)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Names")
    }
}

impl Names {
    /// Resolves names by `lookup`, which may block.
    pub(crate) fn with(lookup: impl Fn(&str, Family) -> Answer + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), table: Arc::default() }
    }

    /// The addresses of `host`. A lookup that is no longer awaited goes on; its answer is
    /// for the next one who asks.
    pub(crate) async fn resolve(&self, host: &str, family: Family) -> Answer {
        let mut answer = match self.join_or_start(host, family) {
            Ok(Asked::Waits(answer)) => answer,
            Ok(Asked::Known(addresses)) => return Ok(addresses),
            Err(error) => return Err(LookupError::Other(format!("no thread for it: {error}"))),
        };
        match answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(LookupError::Temporary)),
            Err(_) => Err(LookupError::Other("the lookup has failed".into())),
        }
    }

    fn join_or_start(&self, host: &str, family: Family) -> std::io::Result<Asked> {
        let key = (host.to_owned(), family);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        match table.remove(&key) {
            // A thread that has panicked leaves a closed channel.
            Some(Entry::Running(answer)) if answer.has_changed().is_ok() => {
                table.insert(key, Entry::Running(answer.clone()));
                return Ok(Asked::Waits(answer));
            }
            Some(Entry::Late(addresses, at)) if at.elapsed() < LATE_ANSWER => {
                return Ok(Asked::Known(addresses));
            }
            _ => {}
        }
        let (sender, answer) = watch::channel(None);
        let (lookup, shared) = (Arc::clone(&self.lookup), Arc::clone(&self.table));
        let asked = key.clone();
        thread::Builder::new().name("resolver".into()).stack_size(STACK).spawn(move || {
            let answer = lookup(&asked.0, asked.1);
            let mut table = shared.lock().unwrap_or_else(PoisonError::into_inner);
            table.remove(&asked);
            // The table had one receiver.
            match &answer {
                Ok(found) if sender.receiver_count() == 0 => {
                    table.insert(asked, Entry::Late(found.clone(), Instant::now()));
                }
                _ => {}
            }
            sender.send_replace(Some(answer));
        })?;
        table.insert(key, Entry::Running(answer.clone()));
        Ok(Asked::Waits(answer))
    }
}

/// The state of a lookup.
enum Asked {
    Waits(watch::Receiver<Option<Answer>>),
    Known(Vec<SocketAddr>),
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Names whose lookups wait for what is sent, and the number of lookups that were started.
    fn answered_later() -> (Names, Arc<AtomicUsize>, mpsc::Sender<Answer>) {
        let started = Arc::new(AtomicUsize::new(0));
        let (answer, answers) = mpsc::channel::<Answer>();
        let (count, answers) = (Arc::clone(&started), Mutex::new(answers));
        let names = Names::with(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
            answers.lock().unwrap().recv().unwrap()
        });
        (names, started, answer)
    }

    #[tokio::test]
    async fn addresses_and_zones_need_no_name_server() {
        let names = Names::default();
        let found = names.resolve("127.0.0.1", Family::V4).await.unwrap();
        assert_eq!(found, ["127.0.0.1:0".parse().unwrap()]);
        let found = names.resolve("fe80::1%lo", Family::V6).await.unwrap();
        assert!(matches!(found.as_slice(), [SocketAddr::V6(address)] if address.scope_id() > 0));
    }

    #[tokio::test]
    async fn a_lookup_that_hangs_is_joined_and_not_started_again() {
        let (names, started, answer) = answered_later();
        for _ in 0..3 {
            let resolving = names.resolve("broker", Family::V4);
            assert!(timeout(Duration::from_millis(1), resolving).await.is_err());
        }
        let resolving = tokio::spawn({
            let names = names.clone();
            async move { names.resolve("broker", Family::V4).await }
        });
        tokio::task::yield_now().await;
        answer.send(Err(LookupError::NoName)).unwrap();
        assert_eq!(resolving.await.unwrap(), Err(LookupError::NoName));
        assert_eq!(started.load(Ordering::Relaxed), 1);
        // Once it has ended, the name is looked up anew.
        answer.send(Ok(Vec::new())).unwrap();
        assert_eq!(names.resolve("broker", Family::V4).await, Ok(Vec::new()));
        assert_eq!(started.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn addresses_that_come_too_late_are_for_the_next_one_who_asks() {
        let (names, started, answer) = answered_later();
        let give_up = async {
            let resolving = names.resolve("broker", Family::V4);
            assert!(timeout(Duration::from_millis(1), resolving).await.is_err());
        };
        let is_late = || {
            let table = names.table.lock().unwrap();
            table.values().any(|entry| matches!(entry, Entry::Late(..)))
        };
        give_up.await;
        let found = vec!["127.0.0.1:0".parse().unwrap()];
        answer.send(Ok(found.clone())).unwrap();
        while !is_late() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(names.resolve("broker", Family::V4).await, Ok(found.clone()));
        assert_eq!(started.load(Ordering::Relaxed), 1);
        // Once only, because addresses change.
        answer.send(Err(LookupError::NoName)).unwrap();
        assert_eq!(names.resolve("broker", Family::V4).await, Err(LookupError::NoName));
        // And not for ever.
        let long_ago = Instant::now().checked_sub(LATE_ANSWER).unwrap();
        let key = ("broker".to_owned(), Family::V4);
        names.table.lock().unwrap().insert(key, Entry::Late(found, long_ago));
        answer.send(Err(LookupError::NoName)).unwrap();
        assert_eq!(names.resolve("broker", Family::V4).await, Err(LookupError::NoName));
    }

    #[tokio::test]
    async fn a_panic_in_a_lookup_is_an_error_and_not_for_ever() {
        let names = Names::with(|_, _| panic!("a fault"));
        for _ in 0..2 {
            assert!(names.resolve("broker", Family::V4).await.is_err());
        }
    }
}
