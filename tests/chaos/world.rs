//! The vehicles, their connections to the operator, and the checks at the end.

use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::{OptionFuture, join_all};
use tokio::time::sleep;
use vehicle_simulator::{Problem, execution};

use super::ask::ask;
use super::faults;
use super::journal::Journal;
use super::load::Load;
use super::request::{CONFIGS, Kind, TALKER, TOO_LARGE_FOR_ANKAIOS};
use super::secrets::Secrets;
use super::site::Site;
use super::slots::{add_configs, wrong_slots};
use super::stream;
use super::support::vehicle::Vehicle;
use super::support::{Broker, DEADLINE, Process, Requester, eventually, free_port, say};
use super::talk::{self, Talker};

/// The time limit after the last fault: the keep-alive time, the longest wait of the backoff,
/// and the time to serve all waiting requests.
const CATCH_UP: Duration = Duration::from_secs(60);

/// The time limit of one request on a machine that runs other tests at the same time.
const REPLY_LIMIT: Duration = Duration::from_secs(2);

/// The longest wait between attempts to connect to Ankaios, and a timeout. A standby replica
/// needs it, because no earlier request has waited for its link.
const READY: Duration = Duration::from_secs(8);

/// The maximum memory of the connector, in kB: 64 requests, 64 replies, the largest of which is
/// the whole state, and the program itself.
const MAX_RESIDENT: u32 = 100_000;

/// Everything that the test breaks.
pub(crate) struct World {
    broker: Broker,
    /// `None` without TLS.
    secrets: Option<Secrets>,
    sites: Vec<Site>,
    /// The connectors, in the order of `sites`.
    connectors: Vec<Process>,
    operator: Requester,
}

impl World {
    /// Starts everything and waits until requests are served. Odd seeds use TLS; if half the
    /// seed, rounded down, is odd, there are replicas.
    pub(crate) async fn start(seed: u64) -> Self {
        let secrets = (seed % 2 == 1).then(Secrets::new);
        let mut settings =
            ["persistence true", "autosave_interval 1", "max_queued_messages 100000"]
                .map(str::to_owned)
                .to_vec();
        let secure = free_port();
        settings.extend(secrets.iter().flat_map(|secrets| secrets.of_the_broker(secure)));
        let settings: Vec<_> = settings.iter().map(String::as_str).collect();
        let broker = Broker::with(&settings).await;
        let port = if secrets.is_some() { secure } else { broker.port() };
        let names: &[_] = if seed / 2 % 2 == 1 { &["a", "b"] } else { &[""] };
        let (mut sites, mut connectors) = (Vec::new(), Vec::<Process>::new());
        for name in names {
            let site = Site::new(name, port, secrets.as_ref()).await;
            site.vehicle.set_lose_half_read_frames(true);
            add_configs(&site.vehicle);
            let connector = site.start();
            connector.line("the link to Ankaios is up").await;
            connectors.push(connector);
            sites.push(site);
            // The first replica becomes active.
            connectors[0].line("ready for requests").await;
        }
        let operator = Requester::connect(broker.port()).await;
        Self { broker, secrets, sites, connectors, operator }
    }

    /// Injects faults for a while, then checks that nothing was lost.
    pub(crate) async fn survive(self, seed: u64, time: Duration) {
        let Self { mut broker, secrets, sites, mut connectors, operator } = self;
        let journal = Journal::new();
        let mut random = Rng::with_seed(seed);
        let mut load = Load::new(&operator, &journal, sites.len() > 1);
        let talker = Talker::default();
        let single = match &sites[..] {
            [site] => Some(&site.vehicle),
            _ => None,
        };
        if let Some(vehicle) = single {
            start_talker(&mut load, &operator, vehicle).await;
        }
        let end = Instant::now() + time;
        let [a, b, c] = std::array::from_fn(|_| random.fork());
        let replicas = sites.iter().zip(&mut connectors).map(|(site, connector)| {
            let [a, b, c, d] = std::array::from_fn(|_| random.fork());
            let journal = journal.of(site.name);
            async move {
                let mut logs = Vec::new();
                let (.., scraped, resident) = tokio::join!(
                    faults::of_ankaios(site, a, end, &journal),
                    faults::of_the_connector(site, connector, &mut logs, b, end, &journal),
                    faults::of_the_uplink(&site.proxy, c, end, &journal),
                    site.endpoint.scrape(d, end, &journal),
                    site.watch_memory(end),
                );
                (logs, scraped, resident)
            }
        });
        let talk = OptionFuture::from(single.map(|vehicle| talker.talk(vehicle, b, end, &journal)));
        let (replicas, ..) = tokio::join!(
            join_all(replicas),
            load.flow(a, end),
            talk,
            faults::of_the_broker(&mut broker, secrets.as_ref(), c, end, &journal),
        );
        journal.note("all faults have ended");
        let outcome = settle(&mut load, &operator, &sites, &talker, &journal).await;

        let mut failures = load.failures();
        failures.extend(outcome.err());
        failures.extend(single.into_iter().flat_map(|vehicle| wrong_slots(&mut load, vehicle)));
        let mut resident = 0;
        let mut logs = Vec::new();
        for (site, (log, scraped, peak_memory)) in sites.iter().zip(replicas) {
            logs.extend(log);
            failures.extend(scraped.into_iter().map(|failure| format!("{}: {failure}", site.name)));
            resident = resident.max(peak_memory);
        }
        let check = talk::judge(&operator.logs_from(0), &journal);
        failures.extend(check.failures.iter().map(|failure| format!("{TALKER}: {failure}")));
        if resident > MAX_RESIDENT {
            failures.push(format!("the connector has used {resident} kB"));
        }
        let events = operator.events().len();
        say(&format!(
            "{}, {events} events, {} of {} lines, {} repeated, {} dropped, at most {resident} kB\n",
            load.summary(),
            check.lines,
            talker.lines(),
            check.repeated,
            check.dropped,
        ));
        if !failures.is_empty() {
            logs.extend(connectors.iter().flat_map(Process::output));
            let file = format!("{}/chaos-{seed}.log", env!("CARGO_TARGET_TMPDIR"));
            let problems = sites.iter().flat_map(|site| site.vehicle.problems());
            let problems: Vec<_> = problems.map(|problem| shortened(&problem)).collect();
            let all = [journal.text(), problems.join("\n"), failures.join("\n"), logs.join("\n")];
            std::fs::write(&file, all.join("\n\n")).unwrap();
            failures.truncate(20);
            panic!(
                "CHAOS_SEED={seed} CHAOS_SECONDS={}; all in {file}\n{}\n{}",
                time.as_secs(),
                journal.text(),
                failures.join("\n")
            );
        }
    }
}

/// Applies the manifest of the talker, and subscribes to its log.
async fn start_talker(load: &mut Load<'_>, operator: &Requester, vehicle: &Vehicle) {
    ask(load, operator, Kind::Talk, DEADLINE).await.unwrap();
    eventually("the talker runs", DEADLINE, async || {
        let instance = vehicle.instance(TALKER)?;
        (vehicle.execution_state(&instance)? == execution::running()).then_some(())
    })
    .await;
    load.ensure_subscribed().await;
    // The talker talks on while the server restarts.
    let mut startup = vehicle.desired_state();
    if let Some(configs) = &mut startup.configs {
        configs.configs.remove("fleetconnector_revision");
    }
    vehicle.set_startup_manifest(startup).unwrap();
}

/// Waits until every request has its reply, then sends requests of all kinds once more.
async fn settle(
    load: &mut Load<'_>,
    operator: &Requester,
    sites: &[Site],
    talker: &Talker,
    journal: &Journal,
) -> Result<(), String> {
    let begin = Instant::now();
    load.handle_data_loss();
    // Requests without any reply are reported by `Load::failures`.
    while let Some(number) = load.unanswered() {
        if begin.elapsed() > CATCH_UP {
            return Err(format!(
                "{number} and possibly others were not answered within {CATCH_UP:?}"
            ));
        }
        sleep(Duration::from_millis(20)).await;
    }
    journal.note(format!("caught up within {:?}", begin.elapsed()));
    if sites.len() > 1 {
        one_is_active(sites).await?;
        journal.note(format!("one replica is active after {:?}", begin.elapsed()));
    }
    wait_for_subscriber(load, operator).await?;
    // The last fault may have cut a line on which nothing was in progress.
    if let Err(failure) = ask(load, operator, Kind::Nothing, CATCH_UP).await {
        // Ankaios itself may need a restart of the agent by now. Nothing else is an excuse.
        if !["closed the control interface", "does not exist"]
            .iter()
            .any(|part| failure.contains(part))
        {
            return Err(format!("the connector does not recover: {failure}"));
        }
        journal.note(format!("ankaios: agent restarts, because {failure}"));
        let outage = journal.outage();
        for site in sites {
            site.vehicle.restart_agent(Duration::from_millis(100)).await.unwrap();
        }
        journal.over(outage);
    }
    let slot = 0;
    for kind in [
        Kind::Config(0),
        Kind::ConfigOwnFormat(CONFIGS.len() - 1),
        Kind::Everything,
        Kind::Apply { slot, version: 0, padding: 0 },
        Kind::Delete { slot },
        Kind::Logs,
        Kind::NoWorkload,
        Kind::NoSubscription,
        Kind::Wait,
        Kind::NoUpdate,
        Kind::Validate,
        Kind::Refused,
        Kind::NoManifest,
        Kind::NoMasks,
        Kind::NoOperation,
        Kind::TooLarge,
    ] {
        if sites.len() == 1 || !kind.leaves_traces() {
            match ask(load, operator, kind.clone(), REPLY_LIMIT).await {
                // The faults have lost an answer with the whole state. Ankaios is not asked for it for
                // a minute, unless something is deleted.
                Err(failure) if failure.contains(TOO_LARGE_FOR_ANKAIOS) => {
                    journal.note(format!("something is deleted, because {failure}"));
                    ask(load, operator, Kind::Delete { slot }, REPLY_LIMIT).await?;
                    ask(load, operator, kind, REPLY_LIMIT).await?;
                }
                asked => asked?,
            }
        }
    }
    if let [Site { vehicle, .. }] = sites {
        stream::settle(load, operator, vehicle, journal).await?;
        talker.settle(load, operator, vehicle, journal).await?;
    }
    for site in sites {
        site.endpoint.ready(READY).await.map_err(|failure| format!("{}: {failure}", site.name))?;
    }
    Ok(())
}

/// Waits until a connector is subscribed to requests. After the broker has lost everything,
/// there may have been no request to wait for, and no subscriber.
async fn wait_for_subscriber(load: &mut Load<'_>, operator: &Requester) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let number = load.ask(Kind::Nothing).await;
        operator.acknowledged(number).await;
        if !operator.fate(number).unwrap_or_default().no_subscribers {
            return Ok(());
        }
        if begin.elapsed() > REPLY_LIMIT * 2 {
            return Err(format!("no client is subscribed to requests after {:?}", begin.elapsed()));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until one replica is active, and all others are standby.
async fn one_is_active(sites: &[Site]) -> Result<(), String> {
    let begin = Instant::now();
    loop {
        let mut active = Vec::new();
        for site in sites {
            // An agent that has closed the control interface is restarted afterwards.
            if !site.endpoint.is_standby().await? {
                active.push(site.name);
            }
        }
        if active.len() == 1 {
            return Ok(());
        }
        if begin.elapsed() > CATCH_UP {
            return Err(format!("exactly one replica must be active, but these are: {active:?}"));
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A problem, cut off before the payload of its request.
fn shortened(problem: &Problem) -> String {
    format!("{problem:?}").chars().take(200).collect()
}
