//! Listeners of `ankaios-control`: real FIFOs, simulated Ankaios.

use std::time::{Duration, SystemTime};

use ankaios_control::{
    Change, Client, Event, EventListener, EventStream, Failure, ListenerError, Listeners,
    StreamHealth,
};
use ankaios_model::InstanceName;
use ankaios_model::manifest::Manifest;
use ankaios_model::proto::ank_base::Request;
use ankaios_model::proto::ank_base::request::RequestContent;
use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use vehicle_simulator::{CONNECTOR_WORKLOAD, Fault, execution};

use crate::support::vehicle::Vehicle;
use crate::support::{DEADLINE, eventually};

/// A simulated vehicle and a client with a link to it.
struct LinkedVehicle {
    vehicle: Vehicle,
    client: Client,
    _link: AbortOnDropHandle<()>,
}

impl LinkedVehicle {
    async fn start() -> Self {
        let vehicle = Vehicle::start().await;
        let folder = vehicle.control_interface().to_owned();
        let (client, link) = ankaios_control::connect(folder, Duration::from_secs(2));
        let link = AbortOnDropHandle::new(tokio::spawn(link.run()));
        Self { vehicle, client, _link: link }
    }

    async fn subscribe(&self, mask: &str) -> EventStream {
        self.client.subscribe(vec![mask.into()]).await.unwrap().answer().await.unwrap().1
    }

    /// Adds the config `door` to the state of the vehicle, or changes it.
    async fn set_door(&self, value: &str) {
        let manifest = format!("apiVersion: v1\nconfigs:\n  door: '{value}'\n");
        let request = Manifest::parse(manifest.as_bytes()).unwrap().into_apply_request();
        self.client.update(request).await.unwrap().answer().await.unwrap();
    }

    async fn remove_door(&self) {
        let manifest = Manifest::parse(b"apiVersion: v1\nconfigs: {door: ''}\n").unwrap();
        let request = manifest.into_delete_request();
        self.client.update(request).await.unwrap().answer().await.unwrap();
    }
}

/// The calls: number of the listener, how often it was called, and the call itself.
type Calls = mpsc::UnboundedReceiver<(usize, usize, String)>;

/// A listener that records its calls.
struct Recorder {
    number: usize,
    calls: usize,
    log: mpsc::UnboundedSender<(usize, usize, String)>,
    /// Fails or panics in calls about a field.
    trouble: Option<Trouble>,
}

#[derive(Clone, Copy)]
enum Trouble {
    Fails,
    Panics,
}

impl Recorder {
    fn new(number: usize, log: &mpsc::UnboundedSender<(usize, usize, String)>) -> Self {
        Self { number, calls: 0, log: log.clone(), trouble: None }
    }

    fn with(self, trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..self }
    }

    fn record(&mut self, what: String) {
        self.calls += 1;
        self.log.send((self.number, self.calls, what)).unwrap();
    }

    fn change(&mut self, kind: &str, change: &Change<'_>) -> Result<(), Failure> {
        let instance = change.instance.as_ref().map(InstanceName::to_string);
        let instance = instance.map_or_else(String::new, |name| format!(" of {name}"));
        self.record(format!("{kind} {}{instance}", change.field));
        match self.trouble {
            None => Ok(()),
            Some(Trouble::Fails) => Err("the listener fails".into()),
            Some(Trouble::Panics) => panic!("the listener panics"),
        }
    }
}

#[async_trait]
impl EventListener for Recorder {
    async fn event(&mut self, event: &Event) -> Result<(), Failure> {
        if event.resynced {
            self.record("resynced".into());
        }
        Ok(())
    }

    async fn added(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.change("added", change)
    }

    async fn updated(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.change("updated", change)
    }

    async fn removed(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        self.change("removed", change)
    }

    async fn error(&mut self, error: &ListenerError) {
        self.record(format!("error: {error}"));
    }
}

async fn next(calls: &mut Calls) -> (usize, usize, String) {
    timeout(DEADLINE, calls.recv()).await.expect("no call in time").unwrap()
}

/// The next call that contains `what`.
async fn find(calls: &mut Calls, what: &str) -> (usize, usize, String) {
    loop {
        let call = next(calls).await;
        if call.2 == what {
            return call;
        }
    }
}

#[tokio::test]
async fn one_listener_receives_all_events_and_a_factory_creates_one_for_each() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let mut created = 100;
    let factory_log = log.clone();
    let _listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .with_factory(move || {
            created += 1;
            Recorder::new(created, &factory_log)
        })
        .listen(scene.subscribe("desiredState.configs.door").await);
    scene.set_door("open").await;
    scene.set_door("shut").await;
    scene.remove_door().await;
    let field = "desiredState.configs.door";
    for (number, kind) in [(1, "added"), (2, "updated"), (3, "removed")] {
        let what = format!("{kind} {field}");
        assert_eq!(next(&mut calls).await, (1, number, what.clone()), "the same instance");
        assert_eq!(next(&mut calls).await, (100 + number, 1, what), "a new one");
    }
}

#[tokio::test]
async fn a_change_names_the_instance_whose_state_changed() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let _listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .listen(scene.subscribe("workloadStates").await);
    let instance = scene.vehicle.instance(CONNECTOR_WORKLOAD).unwrap();
    scene.vehicle.set_execution_state(&instance, execution::failed(1));
    let id = &instance.workload_id;
    let name = format!("{CONNECTOR_WORKLOAD}.{id}.agent_A");
    let field = format!("workloadStates.agent_A.{CONNECTOR_WORKLOAD}.{id}.state");
    find(&mut calls, &format!("updated {field} of {name}")).await;
}

#[tokio::test]
async fn a_listener_that_fails_or_panics_gets_an_error_and_stops_no_other() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let listening = Listeners::new()
        .with(Recorder::new(1, &log).with(Trouble::Fails))
        .with(Recorder::new(2, &log).with(Trouble::Panics))
        .with(Recorder::new(3, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    for (round, value) in ["open", "shut"].into_iter().enumerate() {
        scene.set_door(value).await;
        let kind = if round == 0 { "added" } else { "updated" };
        let what = format!("{kind} desiredState.configs.door");
        let calls_before = 2 * round;
        for (number, error) in [
            (1, "error: a listener has failed: the listener fails"),
            (2, "error: a listener has panicked: the listener panics"),
        ] {
            assert_eq!(next(&mut calls).await, (number, calls_before + 1, what.clone()));
            assert_eq!(next(&mut calls).await, (number, calls_before + 2, error.to_owned()));
        }
        assert_eq!(next(&mut calls).await, (3, round + 1, what));
        assert_eq!(listening.health().failures, 2 * (round as u64 + 1));
    }
    assert!(listening.health().subscribed);
}

#[tokio::test]
async fn a_factory_that_panics_stops_no_listener() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let factory_log = log.clone();
    let mut created = 0;
    let listening = Listeners::new()
        .with_factory(move || {
            created += 1;
            assert_ne!(created, 1, "the factory fails");
            Recorder::new(1, &factory_log)
        })
        .with(Recorder::new(2, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    scene.set_door("open").await;
    assert_eq!(next(&mut calls).await.0, 2);
    assert_eq!(listening.health().failures, 1);
    scene.set_door("shut").await;
    assert_eq!(next(&mut calls).await.0, 1, "it is tried again");
    assert_eq!(next(&mut calls).await.0, 2);
}

#[tokio::test]
async fn a_subscription_is_inactive_while_the_agent_is_down() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    assert!(listening.health().subscribed);
    scene.vehicle.kill_agent().await.unwrap();
    eventually("the health is not subscribed", DEADLINE, async || {
        (!listening.health().subscribed).then_some(())
    })
    .await;
    scene.vehicle.start_agent().await.unwrap();
    find(&mut calls, "resynced").await;
    eventually("the health is subscribed", DEADLINE, async || {
        listening.health().subscribed.then_some(())
    })
    .await;
}

#[tokio::test]
async fn subscribing_survives_interruptions_of_its_future() {
    let scene = LinkedVehicle::start().await;
    let is_subscription = |request: &Request| {
        let subscribes = |content: &RequestContent| {
            matches!(content,
            RequestContent::CompleteStateRequest(request) if request.subscribe_for_events)
        };
        request.request_content.as_ref().is_some_and(subscribes)
    };
    scene.vehicle.inject_fault(1, Fault::DelayAnswer(Duration::from_millis(500)), is_subscription);
    let mut events = scene.client.events(vec!["desiredState.configs.door".into()]);
    let event = timeout(DEADLINE, async {
        loop {
            // Other events of its task interrupt it all the time.
            if let Ok(event) = timeout(Duration::from_millis(10), events.next()).await {
                return event.unwrap();
            }
        }
    });
    assert!(event.await.unwrap().resynced);
    let subscriptions = scene.vehicle.requests().iter().filter(|one| is_subscription(one)).count();
    assert_eq!(subscriptions, 1, "only one was created");
    scene.set_door("open").await;
    assert!(!events.next().await.unwrap().resynced);
}

#[tokio::test]
async fn the_stream_starts_again_after_restarts_and_reports_its_health() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let begin = SystemTime::now();
    let listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    let health = listening.health();
    assert_eq!(health, StreamHealth { subscribed: true, ..StreamHealth::default() });
    scene.set_door("open").await;
    find(&mut calls, "added desiredState.configs.door").await;
    let health = listening.health();
    assert!(health.last_event.unwrap() >= begin && health.last_resync.is_none(), "{health:?}");

    scene.vehicle.restart_agent(Duration::from_millis(100)).await.unwrap();
    find(&mut calls, "resynced").await;
    let first = listening.health();
    assert!(
        first.subscribed && first.last_resync.unwrap() >= health.last_event.unwrap(),
        "{first:?}"
    );
    scene.set_door("shut").await;
    find(&mut calls, "updated desiredState.configs.door").await;

    // The server forgets the config.
    scene.vehicle.restart_server().await.unwrap();
    find(&mut calls, "resynced").await;
    let second = listening.health();
    assert!(second.last_resync > first.last_resync, "{second:?}");
    scene.set_door("shut").await;
    find(&mut calls, "added desiredState.configs.door").await;
    scene.set_door("open").await;
    find(&mut calls, "updated desiredState.configs.door").await;
}

#[tokio::test]
async fn a_subscription_that_cannot_be_renewed_is_reported() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    scene.vehicle.set_access(Default::default());
    scene.vehicle.restart_agent(Duration::ZERO).await.unwrap();
    let (_, _, error) = next(&mut calls).await;
    assert!(error.contains("the subscription cannot be restored: Ankaios denies"), "{error}");
    assert!(listening.health().failures >= 1 && !listening.health().subscribed);
    scene.vehicle.set_access(vehicle_simulator::access::allow_all());
    find(&mut calls, "resynced").await;
    assert!(listening.health().subscribed);
}

#[tokio::test]
async fn no_listener_is_called_after_a_stop() {
    let scene = LinkedVehicle::start().await;
    let (log, mut calls) = mpsc::unbounded_channel();
    let listening = Listeners::new()
        .with(Recorder::new(1, &log))
        .listen(scene.subscribe("desiredState.configs.door").await);
    scene.set_door("open").await;
    find(&mut calls, "added desiredState.configs.door").await;
    assert_eq!(scene.vehicle.streams().values().map(Vec::len).sum::<usize>(), 1);
    listening.stop().await;
    drop(log);
    // All listeners have been dropped, so none can be called any more.
    assert_eq!(timeout(DEADLINE, calls.recv()).await.unwrap(), None);
    eventually("Ankaios has received the end", DEADLINE, async || {
        scene.vehicle.streams().values().all(Vec::is_empty).then_some(())
    })
    .await;
    scene.set_door("shut").await;
}
