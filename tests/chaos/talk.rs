//! The log of the talker, a workload that writes lines all the time. Each line has a number, so
//! that missing lines and a wrong order are found.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::Value;
use tokio::time::sleep;

use super::journal::Journal;
use super::load::Load;
use super::request::{FOLLOWING, TALKER};
use super::support::Requester;
use super::support::connector::BASE;
use super::support::requester::Answer;
use super::support::vehicle::Vehicle;

/// The lines of a flood: more messages than the connector queues for the uplink.
const FLOOD: u32 = 2500;

/// The shortest time between floods: the vehicle keeps only the last 10,000 lines.
const FLOOD_INTERVAL: Duration = Duration::from_secs(30);

/// How long requesting a log again takes after the last fault: the longest wait between
/// attempts, and a timeout.
const RESUMED: Duration = Duration::from_secs(15);

/// The number of lines written after all faults.
const FINAL_LINES: u32 = 20;

/// The workload that writes numbered lines.
#[derive(Debug, Default)]
pub(crate) struct Talker {
    /// The number of lines it has written or is writing.
    lines: AtomicU32,
}

impl Talker {
    /// Writes lines until `end`.
    pub(crate) async fn talk(
        &self,
        vehicle: &Vehicle,
        mut random: Rng,
        end: Instant,
        journal: &Journal,
    ) {
        let mut flooded = Instant::now();
        while Instant::now() < end {
            match random.u32(0..1000) {
                0..2 if flooded.elapsed() > FLOOD_INTERVAL => {
                    flooded = Instant::now();
                    journal.note(format!("{TALKER}: writes {FLOOD} lines"));
                    for _ in 0..FLOOD {
                        self.write(vehicle, 1, 0).await;
                    }
                }
                0..10 => {
                    let padding = random.usize(..2000);
                    self.write(vehicle, random.u32(20..200), padding).await;
                }
                _ => self.write(vehicle, random.u32(1..4), random.usize(..100)).await,
            }
            sleep(Duration::from_millis(random.u64(0..60))).await;
        }
    }

    /// Writes several lines at once, each with some padding.
    async fn write(&self, vehicle: &Vehicle, count: u32, padding: usize) {
        let first = self.lines.fetch_add(count, Ordering::Relaxed);
        let padding = "x".repeat(padding);
        let lines = (first..first + count).map(|number| format!("{number} {padding}"));
        vehicle.log(TALKER, lines).await.unwrap();
    }

    /// The number of lines so far.
    pub(crate) fn lines(&self) -> u32 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Waits until all lines have arrived, then checks that each further line arrives once.
    pub(crate) async fn settle(
        &self,
        load: &mut Load<'_>,
        operator: &Requester,
        vehicle: &Vehicle,
        journal: &Journal,
    ) -> Result<(), String> {
        let begin = Instant::now();
        let mut last = Err("no line has arrived".to_owned());
        while begin.elapsed() < RESUMED {
            load.ensure_subscribed().await;
            last = self.check_new_lines(operator, vehicle).await;
            if last.is_ok() {
                journal.note(format!("all new log lines arrive after {:?}", begin.elapsed()));
                return Ok(());
            }
        }
        last.map_err(|failure| format!("{TALKER}: {failure}"))
    }

    async fn check_new_lines(&self, operator: &Requester, vehicle: &Vehicle) -> Result<(), String> {
        let before = operator.logs_from(0).len();
        self.write(vehicle, 1, 0).await;
        let first = self.lines();
        let before = until_seen(operator, first - 1, before).await?;
        for _ in 0..FINAL_LINES {
            self.write(vehicle, 1, 0).await;
        }
        until_seen(operator, first + FINAL_LINES - 1, before).await?;
        let expected: Vec<_> = (first..first + FINAL_LINES).collect();
        let mut lines = Vec::new();
        for message in parse(&operator.logs_from(before))? {
            match message.content {
                Content::Lines(numbers) => lines.extend(numbers),
                other => return Err(format!("received without a fault: {other:?}")),
            }
        }
        if lines == expected {
            return Ok(());
        }
        Err(format!("received without a fault: {lines:?} instead of {expected:?}"))
    }
}

/// Waits for a line in the messages from index `from` on. Returns the index after the message
/// that contains it.
async fn until_seen(operator: &Requester, line: u32, from: usize) -> Result<usize, String> {
    let begin = Instant::now();
    loop {
        for (index, answer) in operator.logs_from(from).iter().enumerate() {
            let messages = parse(std::slice::from_ref(answer))?;
            if messages.iter().any(|message| message.content.has(line)) {
                return Ok(from + index + 1);
            }
        }
        if begin.elapsed() > RESUMED / 3 {
            return Err(format!("line {line} does not arrive"));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// One message of the subscription.
#[derive(Debug)]
struct Message {
    at: Instant,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Lines(Vec<u32>),
    Dropped(u32),
    Stopped,
}

impl Content {
    fn has(&self, line: u32) -> bool {
        matches!(self, Self::Lines(lines) if lines.contains(&line))
    }
}

fn parse(messages: &[Answer]) -> Result<Vec<Message>, String> {
    let topic = format!("{BASE}/logs/{FOLLOWING}");
    let own = messages.iter().filter(|message| message.topic == topic);
    own.map(|message| {
        let wrong = || {
            let text: String =
                String::from_utf8_lossy(&message.payload).chars().take(200).collect();
            format!("unexpected message of the followed log: {text}")
        };
        let json: Value = serde_json::from_slice(&message.payload).map_err(|_| wrong())?;
        let number = |entry: &Value| {
            let line = entry["message"].as_str()?;
            let own = entry["workload_name"] == TALKER;
            line.split_once(' ').filter(|_| own)?.0.parse().ok()
        };
        let content = if let Some(entries) = json["entries"].as_array() {
            Content::Lines(entries.iter().map(number).collect::<Option<_>>().ok_or_else(wrong)?)
        } else if let Some(dropped) = json["dropped"].as_u64() {
            Content::Dropped(u32::try_from(dropped).map_err(|_| wrong())?)
        } else if json["stopped"]["workload_name"] == TALKER {
            Content::Stopped
        } else {
            return Err(wrong());
        };
        Ok(Message { at: message.at, content })
    })
    .collect()
}

/// The result of checking the log.
#[derive(Debug, Default)]
pub(crate) struct LogCheck {
    /// The number of different lines.
    pub(crate) lines: u32,
    /// The number of repeated lines.
    pub(crate) repeated: u32,
    /// The number of lines that the connector reports as dropped.
    pub(crate) dropped: u32,
    pub(crate) failures: Vec<String>,
}

/// Finds lines that are missing or out of order.
///
/// After an interruption, the last lines may be repeated, beginning at any of them. Lines may
/// be missing only if they are reported as dropped or if the broker has lost its data.
pub(crate) fn judge(messages: &[Answer], journal: &Journal) -> LogCheck {
    let mut check = LogCheck::default();
    let messages = match parse(messages) {
        Ok(messages) => messages,
        Err(failure) => {
            check.failures.push(failure);
            return check;
        }
    };
    // The next new line, and how many lines before it may be missing.
    let mut next = 0;
    let mut dropped = 0;
    let mut last_new = 0.0;
    let mut before = None;
    for Message { at, content } in messages {
        let data_lost = before.is_some_and(|before| journal.data_lost_between(before, at));
        before = Some(at);
        let at = journal.at(at);
        match content {
            Content::Dropped(count) => {
                check.dropped += count;
                dropped += count;
            }
            Content::Stopped => {}
            Content::Lines(lines) => {
                let Some((first, last)) = lines.first().zip(lines.last()).map(|(a, b)| (*a, *b))
                else {
                    check.failures.push(format!("{at:.3}: a message without lines"));
                    continue;
                };
                if lines.windows(2).any(|pair| pair[0] + 1 != pair[1]) {
                    check.failures.push(format!("{at:.3}: not in order: {lines:?}"));
                }
                if first > next && !data_lost && first - next > dropped {
                    check.failures.push(format!(
                        "{at:.3}: lines {next} to {} are missing, {dropped} were dropped; the last \
                         new one arrived at {last_new:.3}",
                        first - 1
                    ));
                }
                let new = (last + 1).saturating_sub(first.max(next));
                check.lines += new;
                check.repeated += last + 1 - first - new;
                if last >= next {
                    next = last + 1;
                    dropped = 0;
                    last_new = at;
                }
            }
        }
    }
    check
}
