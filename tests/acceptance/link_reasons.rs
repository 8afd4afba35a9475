//! Why there is no link to Ankaios, as operators read it.

use serde_json::json;

use crate::support::connector::BASE;
use crate::support::{Scene, start_connector};

#[tokio::test]
async fn an_ankaios_that_is_too_old_is_named() {
    let scene = Scene::start().await;
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    let reason = "Unsupported protocol version '1.0.0'. Currently supported '0.7'";
    scene.vehicle.close_session(reason).await.unwrap();
    let closed = status
        .find("the session is closed", |message| message.json()["ankaios"] == json!("closed"))
        .await
        .json();
    let reason = closed["reason"].as_str().unwrap();
    assert!(reason.contains("'0.7'") && reason.contains("needs Ankaios 1.0 or newer"), "{reason}");
    let reply = scene.request("state", "[]").await;
    assert_eq!(reply["error"]["code"], json!("unavailable"), "{reply}");
    let message = reply["error"]["message"].as_str().unwrap();
    assert!(message.contains("needs Ankaios 1.0 or newer"), "{message}");
}

#[tokio::test]
async fn fifos_that_something_else_has_removed_are_told_from_a_restart_of_the_server() {
    let mut scene = Scene::start().await;
    scene.vehicle.unlink_fifos().await.unwrap();
    scene.connector.line("output was removed, but not by Ankaios").await;
    let reply = scene.request("state", r#"["agents"]"#).await;
    assert!(reply["agents"].is_object(), "{reply}");
    let output = scene.connector.output();
    assert!(!output.iter().any(|line| line.contains("server has restarted")), "{output:?}");

    // A new process finds none, and names this cause.
    let mut status = scene.broker.subscribe(&format!("{BASE}/connector/status"), &[]).await;
    scene.connector = start_connector(&scene.broker, scene.vehicle.control_interface(), &[]);
    let names_it = |reason: &str| reason.contains("systemd-tmpfiles") && reason.contains("restart");
    status
        .find("the cause is named", |message| {
            message.json()["reason"].as_str().is_some_and(names_it)
        })
        .await;
}
