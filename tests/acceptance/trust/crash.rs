//! Power cuts: the connector is killed at random moments of a stream of signed changes, which the
//! broker delivers again.

use std::time::Duration;

use super::*;
use crate::support::connector::start_connector;
use crate::support::{Broker, Requester, say};

const APPLY: &str = "manifest/apply";

/// How often the connector is killed.
const KILLS: usize = 12;

/// The change with this serial.
fn change(trusting: &Trusting, serial: u32) -> Vec<u8> {
    trusting.sign(&statement(APPLY, serial.into()), &config("door", &format!("serial-{serial}-")))
}

/// The serials of the changes that have reached Ankaios, in order.
fn applied(scene: &Scene) -> Vec<u32> {
    let serial = |content: Option<RequestContent>| {
        let Some(RequestContent::UpdateStateRequest(update)) = content else { return None };
        let configs = update.new_state?.desired_state?.configs?.configs;
        let text = format!("{:?}", configs.get("door")?);
        text.split("serial-").nth(1)?.split('-').next()?.parse().ok()
    };
    scene.vehicle.requests().into_iter().filter_map(|one| serial(one.request_content)).collect()
}

#[tokio::test]
async fn nothing_older_follows_something_newer_however_often_the_power_is_cut() {
    let seed = fastrand::u64(..);
    say(&format!("nothing_older_follows_something_newer: seed {seed}\n"));
    let mut random = fastrand::Rng::with_seed(seed);
    let trusting = Trusting::new();
    let mut settings = trusting.settings();
    // On a busy machine, the disk keeps requests waiting for longer than usual.
    settings.push(("REQUEST_TIMEOUT".into(), "60s".into()));
    let settings = borrowed(&settings);
    let broker = Broker::with(&["persistence false", "max_queued_messages 0"]).await;
    let mut scene = Scene::with_broker(broker, &settings).await;
    let operator = Requester::connect(scene.broker.port()).await;
    let (mut number, mut newest) = (0, 0);
    let mut sent = Vec::new();
    // A change is signed once.
    let mut changes = Vec::new();
    for _ in 0..KILLS {
        for _ in 0..random.u32(1..12) {
            number += 1;
            // The broker also delivers what it has recorded before.
            let serial = if newest > 0 && random.u8(..4) == 0 {
                random.u32(1..=newest)
            } else {
                newest += 1;
                changes.push(change(&trusting, newest));
                newest
            };
            let request = changes[serial as usize - 1].clone();
            operator.request(number, APPLY, request).await;
            sent.push((number, serial));
        }
        tokio::time::sleep(Duration::from_millis(random.u64(..60))).await;
        scene.connector.kill().await;
        scene.connector =
            start_connector(&scene.broker, scene.vehicle.control_interface(), &settings);
        if random.bool() {
            scene.connector.line("ready for requests").await;
        }
    }
    let limit = Duration::from_secs(60);
    operator.reply(number, limit).await.unwrap();
    operator.all_replied(limit).await.unwrap();
    number += 1;
    newest += 1;
    operator.request(number, APPLY, change(&trusting, newest)).await;
    let reply = operator.reply(number, limit).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert!(reply["revision"].is_u64(), "seed {seed}: {reply}");

    let applied = applied(&scene);
    assert!(applied.is_sorted(), "seed {seed}: {applied:?}");
    assert_eq!(applied.last(), Some(&newest), "seed {seed}");
    assert!(
        value_of(&scene, "door").unwrap().contains(&format!("serial-{newest}-")),
        "seed {seed}"
    );
    for (number, serial) in sent {
        for answer in operator.fate(number).unwrap().replies {
            let reply: Value = serde_json::from_slice(&answer.payload).unwrap();
            let is_expected =
                reply["revision"].is_u64() || refusal(&reply) == untrusted("replayed");
            assert!(is_expected, "seed {seed}, request {number}, serial {serial}: {reply}");
        }
    }
}

#[tokio::test]
async fn what_waits_at_the_broker_is_served_in_order_after_the_start() {
    let trusting = Trusting::new();
    let mut scene = trusting.start().await;
    let new = [Signer::ed25519(11), Signer::ed25519(12)];
    for round in 0..5_u32 {
        scene.connector.kill().await;
        let mut operator = Operator::connect(&scene).await;
        let serial = u64::from(round) * 10;
        // The keys of the second one are those of the first one.
        let (old, next) =
            if round % 2 == 0 { (&trusting.release, &new) } else { (&new, &trusting.release) };
        let file = fleet_trust::testing::trust_file(2, &trusting.root.each_ref(), &next.each_ref())
            .replace("version: 1", &format!("version: {}", round + 2));
        let request = |keys: &[Signer; 2], serial| {
            let value = format!("{serial}");
            let change = config("door", &value);
            bundle(&statement(APPLY, serial), change.as_bytes(), &keys.each_ref())
        };
        let update = bundle(
            &statement("trust/update", serial + 1),
            file.as_bytes(),
            &trusting.root.each_ref(),
        );
        let id = |name: &str| format!("{name}-{round}");
        operator.send(APPLY, &id("first"), request(old, serial + 1), &[]).await;
        operator.send("trust/update", &id("update"), update, &[]).await;
        operator.send(APPLY, &id("revoked"), request(old, serial + 2), &[]).await;
        operator.send(APPLY, &id("next"), request(next, serial + 3), &[]).await;
        scene.connector = start_connector(
            &scene.broker,
            scene.vehicle.control_interface(),
            &borrowed(&trusting.settings()),
        );
        let mut replies = std::collections::BTreeMap::new();
        // Those of earlier rounds may be delivered again.
        while replies.len() < 4 {
            let reply = operator.client.next().await;
            let topic = String::from_utf8(reply.topic.to_vec()).unwrap();
            let id = topic.rsplit('/').next().unwrap();
            if let Some(name) = id.strip_suffix(&format!("-{round}")) {
                replies.entry(name.to_owned()).or_insert_with(|| payload(&reply));
            }
        }
        assert!(replies["first"]["revision"].is_u64(), "round {round}: {replies:?}");
        assert_eq!(replies["update"]["version"], round + 2, "round {round}: {replies:?}");
        assert_eq!(
            refusal(&replies["revoked"]),
            untrusted("unknown_key"),
            "round {round}: {replies:?}"
        );
        assert!(replies["next"]["revision"].is_u64(), "round {round}: {replies:?}");
    }
}
