//! The link to Ankaios over real FIFOs, tested against the simulated agent.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ankaios_control::{Client, LinkStatus, LogsOptions, RequestError};
use ankaios_model::proto::ank_base::request::RequestContent;
use ankaios_model::proto::ank_base::response::ResponseContent;
use ankaios_model::proto::ank_base::{
    CompleteState, CompleteStateResponse, ConfigItem, ConfigMap, ControlInterfaceAccess, Request,
    Response, State, UpdateStateRequest, Workload, WorkloadMap, config_item::ConfigItemEnum,
};
use ankaios_model::proto::control_api::{FromAnkaios, from_ankaios::FromAnkaiosEnum};
use futures_util::future::join_all;
use prost::Message;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use vehicle_simulator::{Fault, Problem, ReadPace, SimulatedVehicle, VehicleOptions};

use crate::support::DEADLINE;
use crate::support::vehicle::Vehicle;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A client and its link, as in one process of the connector.
struct Connector {
    client: Client,
    status: watch::Receiver<LinkStatus>,
    _link: AbortOnDropHandle<()>,
}

impl Connector {
    fn start(folder: &Path) -> Self {
        Self::with_timeout(folder, REQUEST_TIMEOUT)
    }

    fn with_timeout(folder: &Path, request_timeout: Duration) -> Self {
        let (client, link) = ankaios_control::connect(folder.to_owned(), request_timeout);
        let status = link.status();
        Self { client, status, _link: AbortOnDropHandle::new(tokio::spawn(link.run())) }
    }

    async fn until(&self, condition: impl FnMut(&LinkStatus) -> bool) -> LinkStatus {
        let mut status = self.status.clone();
        let found = timeout(DEADLINE, status.wait_for(condition)).await;
        found.unwrap_or_else(|_| panic!("still {:?}", self.status.borrow())).unwrap().clone()
    }

    async fn connected(&self) {
        self.until(|status| *status == LinkStatus::Connected).await;
    }

    async fn state(&self) -> Result<CompleteState, RequestError> {
        self.client.state(vec!["desiredState".into()]).await?.answer().await
    }

    async fn update(&self, size: usize) -> Result<(), RequestError> {
        let call = self.client.update(update("w", size)).await?;
        call.answer().await.map(drop)
    }
}

/// A vehicle, and a connector with an established link to it.
async fn linked() -> (Vehicle, Connector) {
    linked_with_timeout(REQUEST_TIMEOUT).await
}

async fn linked_with_timeout(request_timeout: Duration) -> (Vehicle, Connector) {
    let vehicle = Vehicle::start().await;
    let connector = Connector::with_timeout(vehicle.control_interface(), request_timeout);
    connector.state().await.unwrap();
    (vehicle, connector)
}

/// The path of a directory for the FIFOs that does not exist yet.
fn folder() -> (TempDir, PathBuf) {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("control_interface");
    (parent, folder)
}

/// Writes to the agent as a second writer. The agent sees no end of file until the returned
/// file is closed.
fn write_to_agent(vehicle: &Vehicle, bytes: &[u8]) -> File {
    let path = vehicle.control_interface().join("output");
    let mut output = OpenOptions::new().write(true).open(path).unwrap();
    output.write_all(bytes).unwrap();
    output
}

/// An update that sets a config of this name and size.
fn update(name: &str, size: usize) -> UpdateStateRequest {
    let item = ConfigItem { config_item_enum: Some(ConfigItemEnum::String("x".repeat(size))) };
    let configs = ConfigMap { configs: [(name.to_owned(), item)].into() };
    UpdateStateRequest {
        new_state: Some(CompleteState {
            desired_state: Some(State {
                api_version: "v1".into(),
                configs: Some(configs),
                ..State::default()
            }),
            ..CompleteState::default()
        }),
        update_mask: vec![format!("desiredState.configs.{name}")],
    }
}

fn size_of_config(state: &State, name: &str) -> usize {
    match &state.configs.as_ref().unwrap().configs[name].config_item_enum {
        Some(ConfigItemEnum::String(text)) => text.len(),
        other => panic!("{other:?}"),
    }
}

fn assert_hello_came_first(vehicle: &SimulatedVehicle) {
    let early = |problem: &Problem| matches!(problem, Problem::RequestBeforeHello(_));
    assert!(!vehicle.problems().iter().any(early), "{:?}", vehicle.problems());
}

#[tokio::test]
async fn a_first_hello_is_accepted() {
    let (vehicle, connector) = linked().await;
    assert_eq!(connector.state().await.unwrap().desired_state.unwrap().api_version, "v1");
    assert_eq!(vehicle.hello_count(), 1);
}

#[tokio::test]
async fn a_new_process_is_served_although_its_hello_is_not_answered() {
    let vehicle = Vehicle::start().await;
    for round in 1..=3 {
        let start = Instant::now();
        let connector = Connector::start(vehicle.control_interface());
        connector.state().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1));
        assert_eq!(vehicle.hello_count(), round);
    }
}

#[tokio::test]
async fn a_new_process_is_served_although_ankaios_answers_slowly() {
    let vehicle = linked().await.0;
    // Longer than the interval between probes.
    vehicle.inject_fault(usize::MAX, Fault::DelayAnswer(Duration::from_millis(3300)), |_| true);
    Connector::start(vehicle.control_interface()).connected().await;
}

#[tokio::test]
async fn a_denied_probe_also_proves_the_link() {
    let vehicle = Vehicle::start().await;
    Connector::start(vehicle.control_interface()).connected().await;
    vehicle.set_access(ControlInterfaceAccess::default());
    let connector = Connector::start(vehicle.control_interface());
    connector.connected().await;
    assert_eq!(connector.state().await.unwrap_err(), RequestError::AccessDenied);
}

#[tokio::test]
async fn fifos_that_do_not_exist_yet_are_waited_for() {
    let (_parent, folder) = folder();
    let options = VehicleOptions { create_fifos: false, ..VehicleOptions::default() };
    let vehicle = SimulatedVehicle::start(&folder, options).await.unwrap();
    let connector = Connector::with_timeout(&folder, Duration::from_millis(200));
    match connector.state().await {
        Err(RequestError::Unavailable(reason)) => {
            assert!(reason.contains("does not exist"), "{reason}");
            assert!(reason.contains("controlInterfaceAccess"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    vehicle.start_agent().await.unwrap();
    connector.connected().await;
    connector.state().await.unwrap();
}

#[tokio::test]
async fn agents_that_restart_receive_a_hello_first() {
    let (vehicle, connector) = linked().await;
    for _ in 0..10 {
        vehicle.kill_agent().await.unwrap();
        let client = connector.client.clone();
        let waiting = tokio::spawn(async move { client.state(vec![]).await?.answer().await });
        connector.until(|status| matches!(status, LinkStatus::Disconnected { .. })).await;
        vehicle.start_agent().await.unwrap();
        let back = Instant::now();
        connector.state().await.unwrap();
        assert!(back.elapsed() < Duration::from_secs(2));
        waiting.await.unwrap().unwrap();
    }
    assert_hello_came_first(&vehicle);
    // One for each session of the agent. On a busy machine some are repeated, because no answer came in time.
    assert!(vehicle.hello_count() >= 11, "{}", vehicle.hello_count());
}

/// Reads until a frame starts with the field number of a Hello.
async fn next_is_hello(output: &mut pipe::Receiver) -> bool {
    let mut frame = [0; 2];
    timeout(DEADLINE, output.read_exact(&mut frame)).await.unwrap().unwrap();
    let mut rest = vec![0; usize::from(frame[0]) - 1];
    timeout(DEADLINE, output.read_exact(&mut rest)).await.unwrap().unwrap();
    frame[1] == 0x0a
}

/// A folder with FIFOs, for an agent that the test plays itself.
fn folder_with_fifos() -> (TempDir, PathBuf) {
    let (parent, folder) = folder();
    std::fs::create_dir(&folder).unwrap();
    for name in ["input", "output"] {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, folder.join(name), FileType::Fifo, mode, 0).unwrap();
    }
    (parent, folder)
}

/// The frame of a `ControlInterfaceAccepted`.
const ACCEPTED: [u8; 3] = [2, 0x22, 0];

#[tokio::test]
async fn an_agent_that_restarts_unnoticed_receives_a_hello_first() {
    let (_parent, folder) = folder_with_fifos();
    let open = || pipe::OpenOptions::new().open_receiver(folder.join("output")).unwrap();
    let open_input = || pipe::OpenOptions::new().open_sender(folder.join("input")).unwrap();
    let mut output = open();
    let connector = Connector::start(&folder);
    assert!(next_is_hello(&mut output).await);
    assert!(!next_is_hello(&mut output).await);
    let mut input = open_input();
    input.write_all(&ACCEPTED).await.unwrap();
    connector.connected().await;
    for _ in 0..3 {
        // The connector cannot run in between, because it runs on this thread.
        drop((input, output));
        output = open();
        input = open_input();
        assert!(next_is_hello(&mut output).await);
        assert!(!next_is_hello(&mut output).await);
        input.write_all(&ACCEPTED).await.unwrap();
    }
    // Also if a request is ready at the same time.
    let request = connector.client.state(vec![]).await.unwrap();
    drop((input, output));
    output = open();
    input = open_input();
    assert!(next_is_hello(&mut output).await);
    drop((request, input));
}

#[tokio::test]
async fn a_request_that_an_agent_did_not_read_does_not_reach_the_next_one_before_its_hello() {
    let (_parent, folder) = folder_with_fifos();
    let open = || pipe::OpenOptions::new().open_receiver(folder.join("output")).unwrap();
    let mut output = open();
    let connector = Connector::start(&folder);
    assert!(next_is_hello(&mut output).await);
    assert!(!next_is_hello(&mut output).await);
    let mut input = pipe::OpenOptions::new().open_sender(folder.join("input")).unwrap();
    input.write_all(&ACCEPTED).await.unwrap();
    connector.connected().await;
    let request = connector.client.state(vec![]).await.unwrap();
    output.read_u8().await.unwrap();
    // As a process does that the connector starts and that inherits its open files.
    let inherited = pipe::OpenOptions::new().open_sender(folder.join("output")).unwrap();
    drop((input, output));
    connector.until(|status| matches!(status, LinkStatus::Disconnected { .. })).await;
    let mut output = open();
    assert!(next_is_hello(&mut output).await);
    drop((request, inherited));
}

#[tokio::test]
async fn requests_in_flight_survive_restarts_of_the_agent() {
    let (vehicle, connector) = linked().await;
    let load: Vec<_> = (0..8)
        .map(|_| {
            let client = connector.client.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    client.state(vec![]).await?.answer().await?;
                    client.update(update("w", 10_000)).await?.answer().await?;
                }
                Ok::<_, RequestError>(())
            })
        })
        .collect();
    for _ in 0..5 {
        let requests = vehicle.request_count();
        vehicle.wait_for_requests(requests + 50, DEADLINE).await.unwrap();
        // An agent that starts within milliseconds, before this process runs again, reads what the former
        // one has left in the pipe.
        vehicle.restart_agent(Duration::from_millis(200)).await.unwrap();
    }
    for task in load {
        task.await.unwrap().unwrap();
    }
    assert_hello_came_first(&vehicle);
}

#[tokio::test]
async fn the_next_request_after_a_server_restart_works() {
    let (vehicle, connector) = linked().await;
    vehicle.restart_server().await.unwrap();
    assert!(!vehicle.control_interface().exists());
    for _ in 0..3 {
        connector.state().await.unwrap();
    }
    assert_hello_came_first(&vehicle);
    // Not every request is preceded by a Hello, because each causes a warning in the agent's
    // log.
    let hellos = vehicle.hello_count();
    assert!(hellos <= 3, "{hellos}");
    connector.state().await.unwrap();
    assert_eq!(vehicle.hello_count(), hellos);
}

#[tokio::test]
async fn after_a_second_server_restart_it_says_what_to_do() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(300)).await;
    vehicle.restart_server().await.unwrap();
    connector.state().await.unwrap();
    vehicle.restart_server().await.unwrap();
    let restarted = Instant::now();
    let reason = loop {
        match connector.state().await {
            Err(RequestError::Unavailable(reason)) => break reason,
            // It has ended before the link noticed the restart.
            Err(RequestError::Timeout(_)) if restarted.elapsed() < DEADLINE => {}
            other => panic!("{other:?}"),
        }
    };
    assert!(reason.contains("restart the Ankaios agent"), "{reason}");
    // Ankaios creates the directory again for a restarted agent.
    vehicle.start_agent().await.unwrap();
    connector.connected().await;
    connector.state().await.unwrap();
}

#[tokio::test]
async fn a_request_lost_when_the_session_is_replaced_is_repeated() {
    let (vehicle, connector) = linked().await;
    vehicle.set_server_down(true);
    let requests = vehicle.request_count();
    let lost = tokio::spawn(connector.client.state(vec![]).await.unwrap().answer());
    vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    vehicle.restart_server().await.unwrap();
    lost.await.unwrap().unwrap();
    assert_hello_came_first(&vehicle);
}

#[tokio::test]
async fn updates_lost_when_the_session_is_replaced_are_repeated_before_newer_ones() {
    let (vehicle, connector) = linked().await;
    vehicle.set_server_down(true);
    let requests = vehicle.request_count();
    let old = tokio::spawn(connector.client.update(update("door", 1)).await.unwrap().answer());
    vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    vehicle.restart_server().await.unwrap();
    let new = connector.client.update(update("door", 2)).await.unwrap();
    new.answer().await.unwrap();
    old.await.unwrap().unwrap();
    assert_eq!(size_of_config(&vehicle.desired_state(), "door"), 2);
    assert_hello_came_first(&vehicle);
}

#[tokio::test]
async fn many_requests_without_a_link_fail_together_and_say_why() {
    let (_parent, folder) = folder();
    let connector = Connector::with_timeout(&folder, Duration::from_millis(500));
    let start = Instant::now();
    let mut answers = JoinSet::new();
    for _ in 0..200 {
        answers.spawn(connector.client.state(vec![]).await.unwrap().answer());
    }
    // The requests do not wait for each other.
    assert!(start.elapsed() < Duration::from_millis(500));
    while let Some(answer) = answers.join_next().await {
        match answer.unwrap() {
            Err(RequestError::Unavailable(reason)) => {
                assert!(reason.contains("does not exist"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    let vehicle = SimulatedVehicle::start(&folder, VehicleOptions::default()).await.unwrap();
    connector.state().await.unwrap();
    assert_hello_came_first(&vehicle);
}

#[tokio::test]
async fn a_closed_session_is_reported_until_ankaios_creates_a_new_one() {
    let (vehicle, connector) = linked().await;
    vehicle.set_server_down(true);
    let requests = vehicle.request_count();
    let pending = tokio::spawn(connector.client.state(vec![]).await.unwrap().answer());
    // Otherwise the next session may find it in the pipe, before the Hello.
    vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    vehicle.close_session("because of a test").await.unwrap();
    connector.until(|status| matches!(status, LinkStatus::Closed { .. })).await;
    for result in [pending.await.unwrap(), connector.state().await] {
        match result {
            Err(RequestError::Unavailable(reason)) => {
                assert!(reason.contains("because of a test"), "{reason}");
            }
            other => panic!("{other:?}"),
        }
    }
    vehicle.set_server_down(false);
    vehicle.start_agent().await.unwrap();
    connector.connected().await;
    connector.state().await.unwrap();
}

#[tokio::test]
async fn an_unanswered_request_delays_no_other() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_secs(1)).await;
    vehicle.drop_requests(1);
    let lost = tokio::spawn(connector.client.state(vec![]).await.unwrap().answer());
    let start = Instant::now();
    for _ in 0..100 {
        connector.state().await.unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    let error = lost.await.unwrap().unwrap_err();
    assert_eq!(error, RequestError::Timeout(Duration::from_secs(1)));
}

#[tokio::test]
async fn after_one_lost_answer_the_link_recovers_without_another_request() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(300)).await;
    vehicle.drop_requests(1);
    let lost = tokio::spawn(connector.client.state(vec![]).await.unwrap().answer());
    connector.state().await.unwrap();
    assert!(matches!(lost.await.unwrap(), Err(RequestError::Timeout(_))));
    assert!(connector.client.is_unresponsive());
    let requests = vehicle.request_count();
    vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    let start = Instant::now();
    while connector.client.is_unresponsive() {
        assert!(start.elapsed() < DEADLINE);
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*connector.status.borrow(), LinkStatus::Connected);
}

#[tokio::test]
async fn a_server_that_is_down_causes_timeouts_and_is_detected_when_it_is_back() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(300)).await;
    vehicle.set_server_down(true);
    for _ in 0..3 {
        assert!(matches!(connector.state().await, Err(RequestError::Timeout(_))));
    }
    let status = connector.until(|status| matches!(status, LinkStatus::Disconnected { .. })).await;
    assert!(status.reason().contains("does not answer"), "{status:?}");
    vehicle.set_server_down(false);
    connector.state().await.unwrap();
    connector.connected().await;
    // The link is healthy again, so there is no further Hello.
    let hellos = vehicle.hello_count();
    connector.state().await.unwrap();
    assert_eq!(vehicle.hello_count(), hellos);
}

#[tokio::test]
async fn unknown_late_and_repeated_answers_are_ignored() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(300)).await;
    vehicle.inject_fault(1, Fault::AnswerAs("unknown".into()), |_| true);
    assert!(matches!(connector.state().await, Err(RequestError::Timeout(_))));
    vehicle.inject_fault(1, Fault::DelayAnswer(Duration::from_millis(500)), |_| true);
    assert!(matches!(connector.state().await, Err(RequestError::Timeout(_))));
    vehicle.inject_fault(5, Fault::RepeatAnswer(3), |_| true);
    for size in 1..=5 {
        connector.update(size).await.unwrap();
        let state = connector.state().await.unwrap().desired_state.unwrap();
        assert_eq!(size_of_config(&state, "w"), size);
    }
}

#[tokio::test]
async fn an_update_whose_answer_was_lost_does_not_undo_later_ones() {
    let (vehicle, connector) = linked().await;
    vehicle.inject_fault(1, Fault::LoseAnswer, |_| true);
    let first = tokio::spawn(connector.client.update(update("w", 1)).await.unwrap().answer());
    connector.update(2).await.unwrap();
    vehicle.inject(&[0xff; 64]).await.unwrap();
    match first.await.unwrap().unwrap_err() {
        RequestError::Unavailable(reason) => assert!(reason.contains("later"), "{reason}"),
        other => panic!("{other:?}"),
    }
    connector.state().await.unwrap();
    assert_eq!(size_of_config(&vehicle.desired_state(), "w"), 2);
}

#[tokio::test]
async fn a_repeated_update_does_not_undo_later_ones() {
    let (vehicle, connector) = linked().await;
    vehicle.set_read_pace(ReadPace::Paused);
    let mut updates = JoinSet::new();
    // The last update leaves no room to repeat the first one.
    for (name, size) in [("w", 100_000), ("w", 10), ("other", 768 * 1024)] {
        updates.spawn(connector.client.update(update(name, size)).await.unwrap().answer());
    }
    connector.until(|status| matches!(status, LinkStatus::Disconnected { .. })).await;
    // Both are answered long before there is room again.
    vehicle.set_read_pace(ReadPace::BytesPerSecond(1_000_000));
    while let Some(update) = updates.join_next().await {
        update.unwrap().unwrap();
    }
    connector.state().await.unwrap();
    assert_eq!(size_of_config(&vehicle.desired_state(), "w"), 10);
}

#[tokio::test]
async fn an_agent_that_lost_frame_sync_recovers_even_with_a_short_timeout() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(300)).await;
    // The start of a frame of one megabyte, which swallows the bytes after it.
    drop(write_to_agent(&vehicle, &[0x80, 0x80, 0x40, 0x1a]));
    let start = Instant::now();
    while let Err(error) = connector.state().await {
        assert!(start.elapsed() < DEADLINE, "{error}");
    }
}

#[tokio::test]
async fn an_answer_after_a_lost_first_one_is_not_mistaken_for_it() {
    let (vehicle, connector) = linked().await;
    let lost = |error: RequestError| match error {
        RequestError::Unavailable(reason) => assert!(reason.contains("first"), "{reason}"),
        other => panic!("{other:?}"),
    };

    let requests = vehicle.request_count();
    vehicle.inject_fault(1, Fault::LoseAnswer, |_| true);
    let subscribing = connector.client.subscribe(vec!["desiredState.configs".into()]).await;
    vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
    connector.update(2).await.unwrap();
    lost(subscribing.unwrap().answer().await.unwrap_err());

    vehicle.inject_fault(1, Fault::LoseAnswer, |request| {
        matches!(request.request_content, Some(RequestContent::LogsRequest(_)))
    });
    let instance = vehicle.instance("fleetconnector").unwrap();
    lost(connector.client.logs([instance], LogsOptions::default()).await.unwrap_err());
}

#[tokio::test]
async fn an_agent_that_lost_frame_sync_before_the_hello_recovers() {
    let vehicle = Vehicle::start().await;
    let output = write_to_agent(&vehicle, &[0xff; 10]);
    while !vehicle.problems().iter().any(|problem| matches!(problem, Problem::InvalidLength(_))) {
        sleep(Duration::from_millis(1)).await;
    }
    let connector = Connector::start(vehicle.control_interface());
    let silent = |status: &LinkStatus| status.reason().contains("does not answer");
    connector.until(silent).await;
    // Now the agent sees end of file only if the connector closes the pipe, too.
    drop(output);
    connector.connected().await;
}

#[tokio::test]
async fn the_link_recovers_from_garbage_within_three_seconds() {
    for garbage in [
        &[0xff; 64][..],
        // A length without a message.
        &[0x80, 0x10, 1, 2, 3],
        // The first half of a varint.
        &[0x80],
        // A length of 4 GiB.
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[5, 1, 2, 3, 4, 5],
    ] {
        let (vehicle, connector) = linked().await;
        vehicle.inject(garbage).await.unwrap();
        let start = Instant::now();
        connector.state().await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{garbage:?} took {:?}", start.elapsed());
        assert_hello_came_first(&vehicle);
    }
}

/// The frame that answers a request with a config of this size.
fn answer(request_id: &str, size: usize) -> Vec<u8> {
    let complete_state = update("w", size).new_state;
    let content = CompleteStateResponse { complete_state, altered_fields: None };
    let response = Response {
        request_id: request_id.into(),
        response_content: Some(ResponseContent::CompleteStateResponse(content)),
    };
    let message = FromAnkaios { from_ankaios_enum: Some(FromAnkaiosEnum::Response(response)) };
    message.encode_length_delimited_to_vec()
}

#[tokio::test]
async fn a_truncated_answer_is_never_completed_by_later_ones() {
    // The number of missing bytes, and the size of the answers that follow.
    for (missing, next) in [(1, 0), (3, 0), (4, 100), (30, 0), (70, 10), (1000, 0), (9000, 300)] {
        let (vehicle, connector) = linked().await;
        connector.update(10_000).await.unwrap();
        vehicle.inject_fault(1, Fault::LoseAnswer, |_| true);
        let requests = vehicle.request_count();
        let call = tokio::spawn(connector.client.state(vec![]).await.unwrap().answer());
        vehicle.wait_for_requests(requests + 1, DEADLINE).await.unwrap();
        let id = vehicle.requests().pop().unwrap().request_id;
        let mut bytes = answer(&id, 10_000);
        bytes.truncate(bytes.len() - missing);
        let (prefix, _) = id.split_once('-').unwrap();
        for number in 0..200 {
            bytes.extend(answer(&format!("{prefix}-9{number:05}"), next));
        }
        vehicle.inject(&bytes).await.unwrap();
        let start = Instant::now();
        let state = call.await.unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        let size = size_of_config(&state.desired_state.unwrap(), "w");
        assert_eq!(size, 10_000, "{missing} bytes missing");
    }
}

#[tokio::test]
async fn an_agent_that_lost_frame_sync_recovers_within_three_seconds() {
    let (vehicle, connector) = linked().await;
    // The header of a frame of 2048 bytes.
    drop(write_to_agent(&vehicle, &[0x80, 0x10, 1, 2, 3]));
    let start = Instant::now();
    connector.state().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    connector.update(1).await.unwrap();
}

#[tokio::test]
async fn large_requests_reach_an_agent_that_loses_partly_read_frames() {
    let (vehicle, connector) = linked().await;
    vehicle.set_lose_half_read_frames(true);
    for _ in 0..10 {
        let reads = (0..20).map(|_| {
            let client = connector.client.clone();
            tokio::spawn(async move { client.state(vec![]).await?.answer().await })
        });
        let reads: Vec<_> = reads.collect();
        connector.update(148_000).await.unwrap();
        for read in reads {
            read.await.unwrap().unwrap();
        }
    }
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn a_slow_agent_receives_complete_frames() {
    let (vehicle, connector) = linked().await;
    vehicle.set_read_pace(ReadPace::BytesPerSecond(4_000_000));
    for size in [1_000, 100_000, 500_000, 900_000] {
        connector.update(size).await.unwrap();
    }
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn an_agent_that_does_not_read_causes_only_timeouts() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_millis(500)).await;
    vehicle.set_read_pace(ReadPace::Paused);
    let updates: Vec<_> = (0..20)
        .map(|_| {
            let client = connector.client.clone();
            tokio::spawn(async move { client.update(update("w", 400_000)).await?.answer().await })
        })
        .collect();
    for task in updates {
        let error = task.await.unwrap().unwrap_err();
        assert!(
            matches!(error, RequestError::Timeout(_) | RequestError::Unavailable(_)),
            "{error:?}"
        );
    }
    vehicle.set_read_pace(ReadPace::Full);
    let start = Instant::now();
    while connector.state().await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    connector.update(400_000).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_stops_reading_is_reported() {
    let (vehicle, connector) = linked_with_timeout(Duration::from_secs(3)).await;
    vehicle.set_read_pace(ReadPace::Paused);
    // The pipe has no room for the second one.
    let updates = [connector.update(600_000), connector.update(600_000)];
    let (updates, state) = tokio::join!(join_all(updates), connector.state());
    assert_eq!(updates[0], Err(RequestError::Timeout(Duration::from_secs(3))));
    match state {
        Err(RequestError::Unavailable(reason)) => {
            assert!(reason.contains("does not answer"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    vehicle.set_read_pace(ReadPace::Full);
    connector.connected().await;
}

#[tokio::test]
async fn replies_of_ten_megabytes_arrive() {
    let vehicle = Vehicle::start().await;
    let workload = Workload { runtime_config: Some("x".repeat(10_000)), ..Workload::default() };
    let workloads =
        (0..1_000).map(|number| (format!("workload-{number}"), workload.clone())).collect();
    vehicle.set_state(CompleteState {
        desired_state: Some(State {
            api_version: "v1".into(),
            workloads: Some(WorkloadMap { workloads }),
            configs: None,
        }),
        ..CompleteState::default()
    });
    let connector = Connector::start(vehicle.control_interface());
    let state = connector.state().await.unwrap();
    assert_eq!(state.desired_state.unwrap().workloads.unwrap().workloads.len(), 1_000);
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn a_request_larger_than_the_pipe_is_refused() {
    let (vehicle, connector) = linked().await;
    connector.update(1024 * 1024 - 100).await.unwrap();
    let error = connector.update(3 * 1024 * 1024).await.unwrap_err();
    assert!(matches!(error, RequestError::TooLarge { .. }), "{error:?}");
    connector.state().await.unwrap();
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn an_update_without_masks_is_never_sent() {
    let (vehicle, connector) = linked().await;
    let update = UpdateStateRequest { update_mask: vec![], ..update("w", 1) };
    assert_eq!(connector.client.update(update).await.unwrap_err(), RequestError::NoMask);
    connector.state().await.unwrap();
    let is_update = |request: &Request| {
        matches!(request.request_content, Some(RequestContent::UpdateStateRequest(_)))
    };
    assert!(!vehicle.requests().iter().any(is_update));
}

#[tokio::test]
async fn an_idle_link_writes_nothing() {
    let (vehicle, _connector) = linked().await;
    let before = (vehicle.request_count(), vehicle.hello_count());
    // The test has to sleep, because it cannot await that nothing happens.
    sleep(Duration::from_secs(3)).await;
    assert_eq!((vehicle.request_count(), vehicle.hello_count()), before);
}
