#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::Time;
use crate::rollout::{Change, Code, Halt, Options, Outcome, OutcomeKind, RequestKind, Transition};

fn plan() -> Plan {
    let vins = ["A1", "A2"].map(|vin| vin.parse().unwrap());
    let change = (Change::Apply, "apiVersion: v1".to_owned());
    let id = "7f3a".parse().unwrap();
    Plan::new(id, Time::from_millis(5), change, vins, None, Options::default()).unwrap()
}

fn lines() -> Vec<Line> {
    let vin = || "A1".parse().unwrap();
    let outcome = Outcome::new(OutcomeKind::TimedOut, Code::NotSettled, "ü\n");
    let transitions = [
        Transition::Sent {
            vin: vin(),
            request: RequestKind::Change,
            wave: 1,
            attempt: 1,
            deadline: Time::from_millis(9),
            queued: false,
        },
        Transition::Answered { vin: vin(), revision: Some(3) },
        Transition::Ended { vin: vin(), wave: 1, outcome },
        Transition::Halted { reason: Halt::Gate { wave: 1, message: "exit 1".into() } },
        Transition::Resumed { until: None },
        Transition::Finished,
    ];
    let line = |transition| Line { at: Time::from_millis(7), transition };
    transitions.map(line).into()
}

fn written() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::create(folder.path(), &plan()).unwrap();
    journal.append(&lines()[..2]).unwrap();
    journal.append(&lines()[2..]).unwrap();
    let path = folder.path().join("7f3a").join(TRANSITIONS);
    (folder, path)
}

#[test]
fn a_journal_is_read_as_it_was_written() {
    let (folder, path) = written();
    let id = plan().id;
    let (mut journal, recorded) = Journal::open(folder.path(), &id).unwrap();
    assert_eq!((&recorded.plan, &recorded.lines), (&plan(), &lines()));
    journal.append(&lines()[..1]).unwrap();
    assert_eq!(Journal::read(folder.path(), &id).unwrap().lines.len(), 7);
    assert_eq!(Journal::list(folder.path()).unwrap(), [id]);
    let text = fs::read_to_string(path).unwrap();
    let first = r#"{"at":"1970-01-01T00:00:00.007Z","type":"sent","vin":"A1","request":"change","wave":1,"attempt":1,"deadline":"1970-01-01T00:00:00.009Z"}"#;
    assert_eq!(text.lines().next(), Some(first));
}

#[test]
fn a_line_that_was_cut_off_is_dropped() {
    let (folder, path) = written();
    let text = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..text.len()).filter(|at| text[*at] == b'\n').collect();
    for length in 0..text.len() {
        fs::write(&path, &text[..length]).unwrap();
        let (mut journal, recorded) = Journal::open(folder.path(), &plan().id).unwrap();
        let whole = ends.iter().filter(|end| **end < length).count();
        assert_eq!(recorded.lines, lines()[..whole], "{length} bytes");
        journal.append(&lines()[whole..]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), text, "{length} bytes");
    }
    // File systems may extend a file before they write its content.
    fs::write(&path, [&text[..], &[0; 20]].concat()).unwrap();
    assert_eq!(Journal::read(folder.path(), &plan().id).unwrap().lines, lines());
}

#[test]
fn damage_elsewhere_is_refused() {
    let (folder, path) = written();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"answered\"", "\"anxwered\"", 1)).unwrap();
    let error = Journal::open(folder.path(), &plan().id).unwrap_err().to_string();
    assert!(error.contains("is damaged: line 2, column"), "{error}");
    assert!(error.contains("start a new roll-out"), "{error}");
    fs::write(&path, format!("{text}not JSON\n")).unwrap();
    let error = Journal::open(folder.path(), &plan().id).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { line: 7, .. }), "{error}");
}

#[test]
fn another_version_is_refused() {
    let (folder, _) = written();
    let plan_file = folder.path().join("7f3a").join(PLAN);
    let text = fs::read_to_string(&plan_file).unwrap();
    fs::write(&plan_file, text.replacen("\"format\": 1", "\"format\": 2, \"other\": 3", 1))
        .unwrap();
    let error = Journal::open(folder.path(), &plan().id).unwrap_err().to_string();
    assert!(error.contains("has format 2, this version reads 1; use the version"), "{error}");
    fs::write(&plan_file, "{").unwrap();
    let error = Journal::open(folder.path(), &plan().id).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");
}

#[test]
fn whether_it_is_running_is_asked_without_a_change() {
    let (folder, path) = written();
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 1]).unwrap();
    let is_running = || Journal::is_running(folder.path(), &plan().id).unwrap();
    assert!(!is_running());
    assert_eq!(fs::read(&path).unwrap().len(), text.len() - 1, "only who goes on cuts it off");
    let journal = Journal::open(folder.path(), &plan().id).unwrap();
    assert!(is_running());
    drop(journal);
    assert!(!is_running());
    assert!(!Journal::is_running(folder.path(), &"7f3b".parse().unwrap()).unwrap());
}

#[test]
fn what_others_have_put_there_is_an_error_and_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let id = plan().id;
    fs::write(folder.path().join("aaaa"), "a file").unwrap();
    let path = folder.path().join(id.as_str());
    fs::create_dir(&path).unwrap();
    let fifo = |name: &str| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mkfifoat(rustix::fs::CWD, path.join(name), mode).unwrap();
    };
    fifo(PLAN);
    let error = Journal::read(folder.path(), &id).unwrap_err().to_string();
    assert!(error.ends_with("plan.json: it is not a regular file"), "{error}");
    fs::remove_file(path.join(PLAN)).unwrap();
    fs::write(path.join(PLAN), read::write_plan(&plan())).unwrap();
    fifo(TRANSITIONS);
    let error = Journal::read(folder.path(), &id).unwrap_err().to_string();
    assert!(error.ends_with("transitions.jsonl: it is not a regular file"), "{error}");
    assert!(Journal::read(folder.path(), &"aaaa".parse().unwrap()).is_err());
    assert_eq!(Journal::list(folder.path()).unwrap().len(), 2);
}

#[test]
fn only_one_command_at_a_time_has_a_journal_open() {
    let folder = tempfile::tempdir().unwrap();
    let id = plan().id;
    let missing = Journal::open(folder.path(), &id).unwrap_err().to_string();
    assert!(missing.starts_with("there is no roll-out 7f3a in "), "{missing}");
    let journal = Journal::create(folder.path(), &plan()).unwrap();
    let locked = Journal::open(folder.path(), &id).unwrap_err();
    assert!(matches!(locked, JournalError::Locked { .. }), "{locked}");
    assert_eq!(Journal::read(folder.path(), &id).unwrap().lines, []);
    drop(journal);
    let exists = Journal::create(folder.path(), &plan()).unwrap_err();
    assert!(matches!(exists, JournalError::Exists { .. }), "{exists}");
    Journal::open(folder.path(), &id).unwrap();
}
