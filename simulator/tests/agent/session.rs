//! The session over the FIFOs, and the known faults of real agents and servers.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::time::{Duration, Instant};

use crate::workload::{
    LIMIT, RawWorkload, connected, start, state_request, state_with, update, workload,
};
use ankaios_model::proto::ank_base::{
    ReadWriteEnum, Request, UpdateStateRequest, Workload, request::RequestContent,
    response::ResponseContent,
};
use ankaios_model::proto::control_api::{ToAnkaios, to_ankaios::ToAnkaiosEnum};
use prost::Message;
use rustix::io::ioctl_fionread;
use rustix::pipe::fcntl_getpipe_size;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use vehicle_simulator::{Fault, Problem, ReadPace, SimulatedVehicle, VehicleOptions, access};

fn frame_of(id: &str, content: RequestContent) -> Vec<u8> {
    let request = Request { request_id: id.to_owned(), request_content: Some(content) };
    ToAnkaios { to_ankaios_enum: Some(ToAnkaiosEnum::Request(request)) }
        .encode_length_delimited_to_vec()
}

fn inode(path: &std::path::Path) -> u64 {
    path.metadata().unwrap().ino()
}

#[tokio::test]
async fn the_fifos_are_private() {
    let (_temp, dir, _vehicle, _workload) = start(VehicleOptions::default()).await;
    for name in ["input", "output"] {
        let file = dir.join(name).metadata().unwrap();
        assert!(file.file_type().is_fifo());
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn the_first_hello_is_answered_and_the_second_is_not() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    workload.say_hello("1.9.3").await;
    workload.assert_answers("a").await;
    assert_eq!(vehicle.hello_count(), 2);
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn a_request_before_hello_closes_the_session_for_good() {
    let (_temp, _dir, vehicle, mut workload) = start(VehicleOptions::default()).await;
    workload.ask_state("early", &[]).await;
    workload.assert_closed("Initial Hello missing!").await;
    assert!(
        matches!(&vehicle.problems()[..], [Problem::RequestBeforeHello(request)] if request.request_id == "early")
    );
    assert_eq!(vehicle.request_count(), 0);
}

#[tokio::test]
async fn another_major_version_closes_the_session() {
    for version in ["2.0.0", "1.0", "nonsense"] {
        let (_temp, _dir, vehicle, mut workload) = start(VehicleOptions::default()).await;
        workload.say_hello(version).await;
        let reason = format!("Unsupported protocol version '{version}'. Currently supported '1'");
        workload.assert_closed(&reason).await;
        assert_eq!(vehicle.problems(), [Problem::UnsupportedVersion(version.to_owned())]);
    }
}

#[tokio::test]
async fn a_new_session_can_start_after_one_was_closed() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    vehicle.close_session("no reason").await.unwrap();
    workload.assert_closed("no reason").await;
    vehicle.start_agent().await.unwrap();
    let mut workload = RawWorkload::open(&dir);
    workload.hello().await;
    workload.assert_answers("a").await;
}

#[tokio::test]
async fn the_session_outlives_the_process_of_the_workload() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    workload.write(&[200]).await.unwrap();
    drop(workload);
    vehicle.wait_for(LIMIT, |counters| counters.problems == 1).await.unwrap();
    assert_eq!(vehicle.problems(), [Problem::CutOff { received: 1 }]);

    let mut workload = RawWorkload::open(&dir);
    workload.say_hello("1.0.0").await;
    workload.assert_answers("a").await;
}

#[tokio::test]
async fn requests_are_recorded_and_awaited() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    workload.ask_state("a", &["agents"]).await;
    workload.ask_state("b", &[]).await;
    vehicle.wait_for_requests(2, LIMIT).await.unwrap();
    let ids: Vec<String> = vehicle.requests().into_iter().map(|is| is.request_id).collect();
    assert_eq!(ids, ["a", "b"]);
    let error = vehicle.wait_for_requests(3, Duration::from_millis(20)).await.unwrap_err();
    assert!(error.to_string().contains("requests: 2"));
}

#[tokio::test]
async fn requests_and_answers_have_faults() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    vehicle.drop_requests(1);
    workload.ask_state("dropped", &[]).await;
    workload.assert_answers("a").await;

    vehicle.inject_fault(1, Fault::DelayAnswer(Duration::from_millis(50)), |_| true);
    workload.ask_state("late", &["agents"]).await;
    workload.assert_answers("b").await;
    assert_eq!(workload.response().await.request_id, "late");

    vehicle
        .inject_fault(usize::MAX, Fault::AnswerAs("other".to_owned()), |is| is.request_id == "c");
    workload.ask_state("c", &["agents"]).await;
    assert_eq!(workload.response().await.request_id, "other");
    workload.assert_answers("d").await;
    vehicle.clear_faults();
    workload.assert_answers("c").await;

    vehicle.inject_fault(1, Fault::RepeatAnswer(2), |_| true);
    workload.ask_state("thrice", &["agents"]).await;
    for _ in 0..3 {
        assert_eq!(workload.response().await.request_id, "thrice");
    }

    vehicle.inject_fault(1, Fault::LoseAnswer, |_| true);
    let state = state_with([("nginx", self::workload("image: nginx"))]);
    workload.request("unheard", update(state, &["desiredState.workloads.nginx"])).await;
    workload.assert_answers("e").await;
    assert!(vehicle.instance("nginx").is_some());
}

#[tokio::test]
async fn an_agent_restart_breaks_the_fifos_and_keeps_their_files() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    let inodes = (inode(&dir.join("input")), inode(&dir.join("output")));
    vehicle.kill_agent().await.unwrap();
    assert_eq!(workload.next().await, None);
    let broken = workload.write(&[0]).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
    let open = tokio::net::unix::pipe::OpenOptions::new().open_sender(dir.join("output"));
    assert_eq!(open.unwrap_err().raw_os_error(), Some(rustix::io::Errno::NXIO.raw_os_error()));

    vehicle.start_agent().await.unwrap();
    assert_eq!(inodes, (inode(&dir.join("input")), inode(&dir.join("output"))));
    let mut workload = RawWorkload::open(&dir);
    workload.hello().await;
    workload.assert_answers("a").await;
}

#[tokio::test]
async fn a_server_restart_swaps_the_session_and_unlinks_the_fifos() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    let startup = vehicle.startup_manifest();
    assert_eq!(vehicle.desired_state(), startup);
    let unscheduled = Workload { agent: Some(String::new()), ..self::workload("image: nginx") };
    let state = state_with([("nginx", unscheduled)]);
    workload.request("u", update(state, &["desiredState.workloads.nginx"])).await;
    workload.response().await;
    assert_ne!(vehicle.desired_state(), startup);
    workload.request("ev", state_request(&[], true)).await;
    workload.state().await;
    assert_eq!(vehicle.streams()["events"], ["ev"]);

    vehicle.restart_server().await.unwrap();
    assert_eq!(vehicle.desired_state(), startup, "what was applied since is gone");
    assert!(!dir.exists());
    workload.assert_silent().await;
    assert!(vehicle.streams()["events"].is_empty());
    workload.hello().await;
    workload.assert_answers("a").await;

    vehicle.restart_server().await.unwrap();
    assert_eq!(workload.next().await, None);
    let broken = workload.write(&[0]).await.unwrap_err();
    assert_eq!(broken.kind(), std::io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn between_swap_and_unlinking_a_request_closes_the_session() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    vehicle.swap_session().await.unwrap();
    assert!(dir.join("output").exists());
    workload.ask_state("a", &[]).await;
    workload.assert_closed("Initial Hello missing!").await;
    vehicle.unlink_fifos().await.unwrap();
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_server_that_is_down_answers_nothing_but_its_agent_does() {
    let (_temp, _dir, vehicle, mut workload) = start(VehicleOptions::default()).await;
    vehicle.set_server_down(true);
    workload.hello().await;
    workload.ask_state("a", &[]).await;
    vehicle.wait_for_requests(1, LIMIT).await.unwrap();
    workload.assert_silent().await;
    vehicle.set_server_down(false);
    workload.assert_answers("b").await;
}

#[tokio::test]
async fn fifos_can_be_created_later() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("control_interface");
    let options = VehicleOptions { create_fifos: false, ..VehicleOptions::default() };
    let vehicle = SimulatedVehicle::start(&dir, options).await.unwrap();
    assert!(!dir.exists());
    vehicle.start_agent().await.unwrap();
    RawWorkload::open(&dir).hello().await;
}

#[tokio::test]
async fn bytes_are_injected_as_they_are() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    vehicle.inject(&[0xff, 0xfe]).await.unwrap();
    let mut bytes = [0; 2];
    workload.input.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, [0xff, 0xfe]);
    workload.assert_answers("a").await;
}

#[tokio::test]
async fn garbage_is_a_problem_and_does_not_end_an_open_session() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    workload.write(&[3, 0xff, 0xff, 0xff]).await.unwrap();
    workload.assert_answers("a").await;
    assert_eq!(vehicle.problems(), [Problem::Undecodable { length: 3 }]);
}

#[tokio::test]
async fn an_update_without_a_state_is_never_answered() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    let nothing = UpdateStateRequest {
        new_state: None,
        update_mask: vec!["desiredState.workloads.x".to_owned()],
    };
    workload.request("u", RequestContent::UpdateStateRequest(nothing)).await;
    workload.assert_answers("a").await;
    assert_eq!(vehicle.problems(), [Problem::UpdateWithoutState { request_id: "u".to_owned() }]);
}

#[tokio::test]
async fn after_an_invalid_length_the_workload_must_reopen_output() {
    let (_temp, dir, vehicle, mut workload) = connected().await;
    workload.write(&[0xff; 10]).await.unwrap();
    workload.ask_state("a", &[]).await;
    workload.assert_silent().await;
    assert_eq!(vehicle.problems(), [Problem::InvalidLength(u64::MAX)]);
    workload.output = None;
    vehicle.wait_for(LIMIT, |counters| counters.output_closings == 1).await.unwrap();
    workload.output =
        Some(tokio::net::unix::pipe::OpenOptions::new().open_sender(dir.join("output")).unwrap());
    workload.assert_answers("b").await;
}

#[tokio::test]
async fn a_workload_that_does_not_read_gets_a_frame_cut_off() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    let state = state_with([("big", self::workload(&"x".repeat(300_000)))]);
    workload.request("u", update(state, &["desiredState.workloads.big"])).await;
    assert_eq!(workload.response().await.request_id, "u");
    workload.ask_state("a", &["desiredState"]).await;
    let sent = Instant::now();
    vehicle.wait_for(LIMIT, |counters| counters.problems == 1).await.unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(450), "{:?}", sent.elapsed());
    let problems = vehicle.problems();
    let [Problem::SlowReader { written, length }] = problems[..] else { panic!("{problems:?}") };
    assert!(written > 0 && written < length);
}

/// The runtime of the test has one thread, so the agent has not read them before.
#[tokio::test]
async fn requests_written_before_a_restart_belong_to_the_old_session() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    workload.ask_state("a", &["agents"]).await;
    vehicle.restart_server().await.unwrap();
    assert_eq!(workload.response().await.request_id, "a");
    workload.hello().await;
    workload.assert_answers("b").await;
    assert_eq!(vehicle.problems(), []);
    assert_eq!(vehicle.request_count(), 2);
}

#[tokio::test]
async fn the_time_after_which_a_frame_is_cut_off_can_be_set() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    vehicle.set_write_limit(Duration::from_secs(1));
    let state = state_with([("big", self::workload(&"x".repeat(300_000)))]);
    workload.request("u", update(state, &["desiredState.workloads.big"])).await;
    assert_eq!(workload.response().await.request_id, "u");
    workload.ask_state("a", &["desiredState"]).await;
    let sent = Instant::now();
    vehicle.wait_for(LIMIT, |counters| counters.problems == 1).await.unwrap();
    assert!(sent.elapsed() >= Duration::from_millis(950), "{:?}", sent.elapsed());
}

#[tokio::test]
async fn half_read_frames_are_lost_when_a_response_is_to_be_sent() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    vehicle.set_lose_half_read_frames(true);
    let small = frame_of("small", state_request(&["agents"], false));
    let big = frame_of("big", state_request(&[&"x".repeat(5_000)], false));
    let (head, rest) = big.split_at(4_000);
    workload.write(&[&small[..], head].concat()).await.unwrap();
    assert_eq!(workload.response().await.request_id, "small");
    assert_eq!(vehicle.problems(), [Problem::LostHalfFrame { received: 4_000 }]);
    workload.write(rest).await.unwrap();
    workload.assert_silent().await;

    vehicle.set_lose_half_read_frames(false);
    assert_eq!(vehicle.request_count(), 1);
}

#[tokio::test]
async fn half_read_frames_are_kept_otherwise() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    let small = frame_of("small", state_request(&["agents"], false));
    let (head, rest) = small.split_at(10);
    workload.write(&[&small[..], head].concat()).await.unwrap();
    assert_eq!(workload.response().await.request_id, "small");
    workload.write(rest).await.unwrap();
    assert_eq!(workload.response().await.request_id, "small");
    assert_eq!(vehicle.problems(), []);
}

#[tokio::test]
async fn reading_can_be_slow_or_pause() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    vehicle.set_read_pace(ReadPace::Paused);
    workload.ask_state("a", &["agents"]).await;
    workload.assert_silent().await;
    assert_eq!(vehicle.request_count(), 0);

    vehicle.set_read_pace(ReadPace::BytesPerSecond(20_000));
    workload.ask_state("b", &[&"x".repeat(4_000)]).await;
    let begin = Instant::now();
    assert_eq!(workload.response().await.request_id, "a");
    assert_eq!(workload.response().await.request_id, "b");
    assert!(begin.elapsed() >= Duration::from_millis(150), "{:?}", begin.elapsed());

    vehicle.set_read_pace(ReadPace::Full);
    workload.assert_answers("c").await;
}

#[tokio::test]
async fn requests_without_access_are_denied() {
    let (_temp, _dir, vehicle, mut workload) = connected().await;
    let mut rules = access::allow_all();
    rules.deny_rules = vec![access::state_rule(ReadWriteEnum::RwRead, &["agents"])];
    vehicle.set_access(rules);
    for masks in [&["agents"][..], &["agents.agent_A.tags"], &["desiredState", "agents"], &[]] {
        workload.ask_state("a", masks).await;
        let denied = workload.response().await;
        assert_eq!(denied.request_id, "a");
        let Some(ResponseContent::Error(error)) = denied.response_content else { panic!() };
        assert_eq!(error.message, "Access denied");
    }
    workload.assert_answers("b").await;
    assert_eq!(vehicle.request_count(), 5);
}

#[tokio::test]
async fn a_workload_that_reopens_output_at_once_is_served() {
    let (_temp, dir, _vehicle, mut workload) = connected().await;
    for round in 0..3 {
        drop(workload.output.take());
        // The runtime notices the end, and resumes this test before the agent reads.
        tokio::task::yield_now().await;
        workload.output = Some(pipe::OpenOptions::new().open_sender(dir.join("output")).unwrap());
        workload.assert_answers(&round.to_string()).await;
    }
}

#[tokio::test]
async fn a_workload_that_is_replaced_at_once_gets_the_rest_of_a_frame() {
    const SIZE: usize = 200_000;
    let (_temp, dir, vehicle, workload) = connected().await;
    let replace = async {
        let full = fcntl_getpipe_size(&workload.input).unwrap();
        while usize::try_from(ioctl_fionread(&workload.input).unwrap()).unwrap() < full {
            tokio::task::yield_now().await;
        }
        drop(workload);
        // The runtime notices the end, and resumes this test before the agent writes.
        tokio::task::yield_now().await;
        let mut workload = RawWorkload::open(&dir);
        workload.input.read_exact(&mut vec![0; SIZE]).await.unwrap();
        workload
    };
    let bytes = vec![0; SIZE];
    let (injected, mut workload) = tokio::join!(vehicle.inject(&bytes), replace);
    injected.unwrap();
    workload.assert_answers("a").await;
}
