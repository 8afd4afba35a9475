//! A workload that talks to the simulated agent over the FIFOs. It uses the framing of prost
//! instead of that of the simulator.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ankaios_model::proto::ank_base::{
    CompleteState, CompleteStateRequest, CompleteStateResponse, LogsRequest, Request, Response,
    State, UpdateStateRequest, Workload, WorkloadMap, request::RequestContent,
    response::ResponseContent,
};
use ankaios_model::proto::control_api::{
    FromAnkaios, Hello, ToAnkaios, from_ankaios::FromAnkaiosEnum, to_ankaios::ToAnkaiosEnum,
};
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::time::timeout;
use vehicle_simulator::{SimulatedVehicle, VehicleOptions};

pub(crate) const LIMIT: Duration = Duration::from_secs(5);

/// How long to wait for a message that must not come.
pub(crate) const SILENCE: Duration = Duration::from_millis(100);

pub(crate) struct RawWorkload {
    pub(crate) output: Option<pipe::Sender>,
    pub(crate) input: pipe::Receiver,
    received: Vec<u8>,
}

/// Starts a vehicle in a temporary folder, and a workload that has both FIFOs open.
pub(crate) async fn start(
    options: VehicleOptions,
) -> (tempfile::TempDir, PathBuf, SimulatedVehicle, RawWorkload) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("control_interface");
    let vehicle = SimulatedVehicle::start(&dir, options).await.unwrap();
    let workload = RawWorkload::open(&dir);
    (temp, dir, vehicle, workload)
}

/// Starts a vehicle and a workload with an open session.
pub(crate) async fn connected() -> (tempfile::TempDir, PathBuf, SimulatedVehicle, RawWorkload) {
    let (temp, dir, vehicle, mut workload) = start(VehicleOptions::default()).await;
    workload.hello().await;
    (temp, dir, vehicle, workload)
}

impl RawWorkload {
    pub(crate) fn open(dir: &Path) -> Self {
        Self {
            input: pipe::OpenOptions::new().open_receiver(dir.join("input")).unwrap(),
            output: Some(pipe::OpenOptions::new().open_sender(dir.join("output")).unwrap()),
            received: Vec::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let output = self.output.as_ref().unwrap();
        let mut rest = bytes;
        while !rest.is_empty() {
            match output.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    timeout(LIMIT, output.writable()).await.expect("the agent does not read")?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(crate) async fn send(&mut self, message: ToAnkaiosEnum) {
        let message = ToAnkaios { to_ankaios_enum: Some(message) };
        self.write(&message.encode_length_delimited_to_vec()).await.unwrap();
    }

    pub(crate) async fn say_hello(&mut self, version: &str) {
        let hello = Hello { protocol_version: version.to_owned() };
        self.send(ToAnkaiosEnum::Hello(hello)).await;
    }

    pub(crate) async fn hello(&mut self) {
        self.say_hello("1.0.0").await;
        let answer = self.next().await.unwrap();
        assert!(matches!(answer, FromAnkaiosEnum::ControlInterfaceAccepted(_)), "{answer:?}");
    }

    pub(crate) async fn request(&mut self, id: &str, content: RequestContent) {
        let request = Request { request_id: id.to_owned(), request_content: Some(content) };
        self.send(ToAnkaiosEnum::Request(request)).await;
    }

    pub(crate) async fn ask_state(&mut self, id: &str, masks: &[&str]) {
        self.request(id, state_request(masks, false)).await;
    }

    /// The next message. `None` at the end of `input`.
    pub(crate) async fn next(&mut self) -> Option<FromAnkaiosEnum> {
        timeout(LIMIT, self.next_message()).await.expect("no message came")
    }

    pub(crate) async fn next_message(&mut self) -> Option<FromAnkaiosEnum> {
        loop {
            let mut bytes = &self.received[..];
            if let Ok(message) = FromAnkaios::decode_length_delimited(&mut bytes) {
                self.received = bytes.to_vec();
                return Some(message.from_ankaios_enum.unwrap());
            }
            if self.input.read_buf(&mut self.received).await.unwrap() == 0 {
                return None;
            }
        }
    }

    pub(crate) async fn response(&mut self) -> Response {
        match self.next().await.unwrap() {
            FromAnkaiosEnum::Response(response) => response,
            other => panic!("expected a response, got {other:?}"),
        }
    }

    pub(crate) async fn state(&mut self) -> CompleteStateResponse {
        match self.response().await.response_content {
            Some(ResponseContent::CompleteStateResponse(response)) => response,
            other => panic!("expected a state, got {other:?}"),
        }
    }

    /// Sends a small request and expects its answer as the next message.
    pub(crate) async fn assert_answers(&mut self, id: &str) {
        self.ask_state(id, &["desiredState.apiVersion"]).await;
        assert_eq!(self.response().await.request_id, id);
    }

    pub(crate) async fn assert_silent(&mut self) {
        let message = timeout(SILENCE, self.next_message()).await;
        assert!(message.is_err(), "expected silence, got {message:?}");
    }

    pub(crate) async fn assert_closed(&mut self, reason: &str) {
        match self.next().await.unwrap() {
            FromAnkaiosEnum::ConnectionClosed(closed) => assert_eq!(closed.reason, reason),
            other => panic!("expected ConnectionClosed, got {other:?}"),
        }
        assert_eq!(self.next().await, None);
    }
}

pub(crate) fn state_request(masks: &[&str], subscribe_for_events: bool) -> RequestContent {
    RequestContent::CompleteStateRequest(CompleteStateRequest {
        field_mask: strings(masks),
        subscribe_for_events,
    })
}

pub(crate) fn logs_request(request: LogsRequest) -> RequestContent {
    RequestContent::LogsRequest(request)
}

pub(crate) fn update(state: State, masks: &[&str]) -> RequestContent {
    RequestContent::UpdateStateRequest(UpdateStateRequest {
        new_state: Some(CompleteState { desired_state: Some(state), ..CompleteState::default() }),
        update_mask: strings(masks),
    })
}

pub(crate) fn state_with(workloads: impl IntoIterator<Item = (&'static str, Workload)>) -> State {
    let workloads: BTreeMap<_, _> =
        workloads.into_iter().map(|(name, workload)| (name.to_owned(), workload)).collect();
    State {
        api_version: "v1".to_owned(),
        workloads: Some(WorkloadMap { workloads }),
        configs: None,
    }
}

pub(crate) fn workload(runtime_config: &str) -> Workload {
    Workload {
        agent: Some("agent_A".to_owned()),
        runtime: Some("podman".to_owned()),
        runtime_config: Some(runtime_config.to_owned()),
        ..Workload::default()
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}
