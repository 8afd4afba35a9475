//! Runs the attempts that [`Race`] decides on.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Plan, Stage};
use super::error::{AddressErrors, DialError, NameError, ProxyCause};
use super::line::Line;
use super::race::{Action, Family, Race};
use super::resolver::LookupError;
use crate::options::SessionOptions;

/// Room for reports of attempts: each reports two stages, and all are read at once.
const MAX_REPORTS: usize = 128;

/// A stream of bytes to the broker.
pub(crate) struct Dialed {
    pub(crate) line: Line,
    /// The address of the broker, or of the proxy.
    pub(crate) address: SocketAddr,
    /// Until when the connection should be made.
    pub(crate) give_up_at: Instant,
}

/// Connects to the broker, by the first of its addresses that works.
///
/// # Errors
/// See [`DialError`].
pub(crate) async fn open(options: &SessionOptions) -> Result<Dialed, DialError> {
    let plan = Plan::new(options);
    let book = &options.addresses;
    let (host, port) = plan.target();
    let families = families(&host);
    let mut race = Race::new(families.iter().copied(), book.suspects(), Instant::now());
    let mut lookups: FuturesUnordered<_> = families
        .iter()
        .map(|family| {
            let host = &host;
            async move { (*family, addresses(host, *family, options).await) }
        })
        .collect();
    let (reports, mut reported) = mpsc::channel(MAX_REPORTS);
    let mut attempts = FuturesUnordered::new();
    let mut log = Log::default();
    loop {
        match race.next(Instant::now()) {
            Action::Start(address) => {
                tracing::debug!(%address, "connecting");
                log.stages.push((address, Stage::Connecting));
                let (plan, reports) = (&plan, reports.clone());
                attempts.push(Box::pin(async move {
                    let reached = |stage| {
                        // A report that is lost only makes a message less exact.
                        let _ = reports.try_send((address, stage));
                    };
                    (address, plan.attempt(address, reached).await)
                }));
            }
            Action::GiveUp => return Err(log.into_error(&plan, host.clone())),
            Action::Wait(until) => tokio::select! {
                biased;
                Some((address, outcome)) = attempts.next() => match outcome {
                    Ok(line) => {
                        let give_up_at = race.give_up_at().unwrap_or_else(Instant::now);
                        return Ok(Dialed { line, address, give_up_at });
                    }
                    Err(error) => {
                        tracing::debug!(%address, %error, "an address does not work");
                        log.failed(address, error);
                        race.failed(address, Instant::now());
                    }
                },
                Some((address, stage)) = reported.recv() => {
                    log.reached(address, stage);
                    race.connected(Instant::now());
                }
                Some((family, answer)) = lookups.next() => {
                    let mut found = answer.unwrap_or_else(|error| {
                        log.lookups.push(error);
                        Vec::new()
                    });
                    found.iter_mut().for_each(|address| address.set_port(port));
                    race.resolved(family, found, Instant::now());
                }
                () = sleep_until(until) => {}
            },
        }
    }
}

/// The families that a host can have addresses of.
fn families(host: &str) -> &'static [Family] {
    match host.parse() {
        Ok(IpAddr::V4(_)) => &[Family::V4],
        Ok(IpAddr::V6(_)) => &[Family::V6],
        // With a zone.
        Err(_) if host.contains('%') => &[Family::V6],
        Err(_) => &Family::ALL,
    }
}

async fn addresses(
    host: &str,
    family: Family,
    options: &SessionOptions,
) -> Result<Vec<SocketAddr>, LookupError> {
    // No name server is asked for it (RFC 6761, 6.3).
    if host.trim_end_matches('.').eq_ignore_ascii_case("localhost") {
        return Ok(vec![SocketAddr::new(loopback(family), 0)]);
    }
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, 0)]),
        Err(_) => match options.addresses.names.resolve(host, family).await {
            Ok(found) if found.is_empty() => Err(LookupError::NoAddress),
            answer => answer,
        },
    }
}

fn loopback(family: Family) -> IpAddr {
    match family {
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
    }
}

/// What has happened so far.
#[derive(Default)]
struct Log {
    lookups: Vec<LookupError>,
    /// Attempts in progress.
    stages: Vec<(SocketAddr, Stage)>,
    errors: Vec<(SocketAddr, DialError)>,
}

impl Log {
    fn reached(&mut self, address: SocketAddr, stage: Stage) {
        self.stages.iter_mut().filter(|(other, _)| *other == address).for_each(|(_, s)| *s = stage);
    }

    fn failed(&mut self, address: SocketAddr, error: DialError) {
        self.stages.retain(|(other, _)| *other != address);
        self.errors.push((address, error));
    }

    /// Why no address works.
    fn into_error(self, plan: &Plan<'_>, host: String) -> DialError {
        let Self { lookups, stages, mut errors } = self;
        errors.extend(stages.into_iter().map(|(address, stage)| (address, timeout(plan, stage))));
        // Without IPv6 on this machine, the other errors say more.
        if !errors.iter().all(|(_, error)| error.is_without_ipv6()) {
            errors.retain(|(address, error)| address.is_ipv4() || !error.is_without_ipv6());
        }
        let Some((_, first)) = errors.first() else { return name_error(plan, host, lookups) };
        let text = first.to_string();
        if errors.iter().all(|(_, error)| error.to_string() == text) {
            return errors.swap_remove(0).1;
        }
        let Some(proxy) = plan.proxy else { return DialError::Addresses(AddressErrors(errors)) };
        let is_reached = |(_, error): &(_, DialError)| match error {
            DialError::Proxy(error) => {
                !matches!(error.cause, ProxyCause::Unreachable(_) | ProxyCause::Timeout)
            }
            _ => true,
        };
        if errors.iter().any(is_reached) {
            return DialError::Addresses(AddressErrors(errors));
        }
        let errors = errors.into_iter().map(|(address, error)| match error {
            DialError::Proxy(error) => match error.cause {
                ProxyCause::Unreachable(error) => (address, DialError::Io(error)),
                _ => (address, DialError::Timeout),
            },
            error => (address, error),
        });
        DialError::proxy(proxy, ProxyCause::Addresses(AddressErrors(errors.collect())))
    }
}

/// The error of an attempt that does not end.
fn timeout(plan: &Plan<'_>, stage: Stage) -> DialError {
    let cause = match stage {
        Stage::Connecting => ProxyCause::Timeout,
        Stage::Proxy => ProxyCause::NoTunnel,
        Stage::Broker => return DialError::Timeout,
    };
    match plan.proxy {
        Some(proxy) => DialError::proxy(proxy, cause),
        None => DialError::Timeout,
    }
}

/// The error of a name without an address. What is known for certain of one family holds for
/// both.
fn name_error(plan: &Plan<'_>, host: String, lookups: Vec<LookupError>) -> DialError {
    let is_complete = lookups.len() == families(&host).len();
    let rank = |error: &LookupError| match error {
        LookupError::NoName => 0,
        LookupError::Refused => 1,
        LookupError::Temporary => 2,
        LookupError::Other(_) => 3,
        LookupError::NoAddress => 4,
    };
    let cause = lookups.into_iter().min_by_key(rank);
    let cause = cause.filter(|cause| is_complete || *cause == LookupError::NoName);
    let error = NameError { host, cause };
    match plan.proxy {
        Some(proxy) => DialError::proxy(proxy, ProxyCause::Name(error)),
        None => DialError::Name(error),
    }
}
