//! The clock of the vehicle is wrong, or is set.

use std::time::Duration;

use super::*;
use crate::support::clock::{Clock, SINCE_1970, YEARS};

/// The settings of a vehicle with this clock.
fn settings<'a>(clock: &'a Clock, trusting: &'a [(String, String)]) -> Vec<(&'a str, &'a str)> {
    [&clock.settings()[..], &borrowed(trusting)].concat()
}

const APPLY: &str = "manifest/apply";

#[tokio::test]
async fn without_the_time_nothing_is_valid_until_the_clock_is_set() {
    let Some(clock) = Clock::new("without_the_time_nothing_is_valid_until_the_clock_is_set") else {
        return;
    };
    let trusting = Trusting::new();
    let own = trusting.settings();
    clock.set_back(SINCE_1970);
    let scene = Scene::with(&settings(&clock, &own)).await;
    let request = trusting.sign(&statement(APPLY, 1), &config("door", "open"));
    let old = Statement { not_before: 0, expires: 3600, ..statement(APPLY, 1) };
    let old = trusting.sign(&old, &config("door", "open"));
    for request in [&request, &old] {
        let reply = scene.request(APPLY, request).await;
        assert_eq!(refusal(&reply), untrusted("not_yet_valid"), "{reply}");
        let message = reply["error"]["message"].as_str().unwrap();
        assert!(message.contains("the vehicle does not know the time"), "{message}");
    }
    assert_eq!(value_of(&scene, "door"), None);
    clock.set_right();
    let reply = scene.request(APPLY, &old).await;
    assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
    let reply = scene.request(APPLY, &request).await;
    assert_eq!(reply["revision"], 1, "{reply}");
}

#[tokio::test]
async fn what_has_expired_stays_expired_when_the_clock_is_set_back() {
    let Some(clock) = Clock::new("what_has_expired_stays_expired_when_the_clock_is_set_back")
    else {
        return;
    };
    let trusting = Trusting::new();
    let own = trusting.settings();
    // The program was built before; the vehicle is some hours ahead of that.
    clock.set_forward(Duration::from_secs(10 * 3600));
    let start = now();
    let at = |hours: i64| start + hours * 3600;
    let valid = |serial, from, until| Statement {
        not_before: at(from),
        expires: at(until),
        ..statement(APPLY, serial)
    };
    let mut scene = Scene::with(&settings(&clock, &own)).await;
    let expired = trusting.sign(&valid(5, 1, 2), &config("window", "open"));
    let reply = scene.request(APPLY, &expired).await;
    assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
    let newer = trusting.sign(&valid(6, 9, 20), &config("door", "closed"));
    let reply = scene.request(APPLY, &newer).await;
    assert_eq!(reply["revision"], 1, "{reply}");
    // To a time at which the first one was valid.
    clock.set_forward(Duration::from_secs(3600 + 1800));
    for restarts in [false, true] {
        if restarts {
            scene.connector.kill().await;
            scene.restart_connector(&settings(&clock, &own)).await;
        }
        let reply = scene.request(APPLY, &expired).await;
        assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
        let reply = scene.request(APPLY, &newer).await;
        assert_eq!(reply["revision"], 1, "{reply}");
    }
    assert_eq!(value_of(&scene, "window"), None);
    clock.set_forward(YEARS);
    let reply = scene.request(APPLY, &newer).await;
    assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
    clock.set_right();
    let next = trusting.sign(&valid(7, 9, 20), &config("door", "open"));
    let reply = scene.request(APPLY, &next).await;
    assert_eq!(reply["revision"], 2, "{reply}");
}

#[tokio::test]
async fn a_trust_update_keeps_what_has_expired_before_it_in_the_past() {
    let name = "a_trust_update_keeps_what_has_expired_before_it_in_the_past";
    let Some(clock) = Clock::new(name) else { return };
    let trusting = Trusting::new();
    let own = trusting.settings();
    clock.set_forward(Duration::from_secs(10 * 3600));
    let start = now();
    let valid = |operation, serial, from: i64, until: i64| Statement {
        not_before: start + from * 3600,
        expires: start + until * 3600,
        ..statement(operation, serial)
    };
    let mut scene = Scene::with(&settings(&clock, &own)).await;
    let file = trusting.file().replace("version: 1", "version: 2");
    let update = valid("trust/update", 1, 9, 20);
    let update = bundle(&update, file.as_bytes(), &trusting.root.each_ref());
    let reply = scene.request("trust/update", &update).await;
    assert_eq!(reply["version"], 2, "{reply}");
    let expired = trusting.sign(&valid(APPLY, 5, 1, 2), &config("window", "open"));
    // To a time at which it was valid.
    clock.set_forward(Duration::from_secs(3600 + 1800));
    for restarts in [false, true] {
        if restarts {
            scene.connector.kill().await;
            scene.restart_connector(&settings(&clock, &own)).await;
        }
        let reply = scene.request(APPLY, &expired).await;
        assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
    }
    let reply = scene.request("trust/update", &update).await;
    assert_eq!(reply["version"], 2, "{reply}");
    assert_eq!(value_of(&scene, "window"), None);
}

#[tokio::test]
async fn years_ahead_everything_has_expired_and_nothing_of_that_remains() {
    let Some(clock) = Clock::new("years_ahead_everything_has_expired_and_nothing_of_that_remains")
    else {
        return;
    };
    let trusting = Trusting::new();
    let own = trusting.settings();
    clock.set_forward(YEARS);
    let scene = Scene::with(&settings(&clock, &own)).await;
    let request = trusting.sign(&statement(APPLY, 1), &config("door", "open"));
    let reply = scene.request(APPLY, &request).await;
    assert_eq!(refusal(&reply), untrusted("expired"), "{reply}");
    clock.set_right();
    let reply = scene.request(APPLY, &request).await;
    assert_eq!(reply["revision"], 1, "{reply}");
}
