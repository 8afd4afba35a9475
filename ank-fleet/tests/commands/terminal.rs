//! What commands show on a terminal, and only there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::support::{DEADLINE, TestFleet, manifest};

/// The controlling side of a terminal, and the other one.
fn terminal() -> (OwnedFd, File) {
    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&controller).unwrap();
    unlockpt(&controller).unwrap();
    let size = Winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(controller.as_fd(), size).unwrap();
    let path = ptsname(&controller, Vec::new()).unwrap().into_string().unwrap();
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    (controller, terminal)
}

/// Runs a roll-out whose standard error is a terminal. Returns what is written to it.
async fn apply(fleet: &TestFleet, id: &str, variables: &[(&str, &str)]) -> String {
    let (controller, terminal) = terminal();
    let reader = std::thread::spawn(move || {
        let (mut controller, mut all, mut bytes) = (File::from(controller), Vec::new(), [0; 4096]);
        // After the end of the command there is an error.
        while let Ok(length @ 1..) = controller.read(&mut bytes) {
            all.extend_from_slice(&bytes[..length]);
        }
        String::from_utf8_lossy(&all).into_owned()
    });
    let args = ["apply", "a.yaml", "--all", "--yes", "--id", id, "--waves", "1,100%"];
    let mut command = fleet.command(&[&args[..], &["--soak", "1s"]].concat());
    command.env("TERM", "xterm").envs(variables.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal);
    let mut child = command.spawn().unwrap();
    // It keeps the terminal open.
    drop(command);
    assert!(child.wait().await.unwrap().success());
    reader.join().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wave_has_a_bar_on_a_terminal_and_colours_only_if_they_are_wanted() {
    let fleet = TestFleet::start(3).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let shown = apply(&fleet, "aaaa", &[]).await;
    assert!(shown.contains('━'), "{shown:?}");
    // A bar has its text when it is drawn first.
    let first = shown.split(['\r', '\n']).find(|line| line.contains("wave 1/2")).unwrap();
    assert!(first.contains("0/1   ok 0") && !first.contains('━'), "{first:?}");
    assert!(shown.contains("\u{1b}[36m"), "{shown:?}");
    // The lines of waves that are over stay.
    for line in ["wave 1/2   1/1   ok 1   soak 1s ok\r\n", "wave 2/2   2/2   ok 2   soak 1s ok\r\n"]
    {
        assert!(shown.contains(line), "{line:?}: {shown:?}");
    }
    fleet.write("a.yaml", &manifest("nginx", "2"));
    let plain = apply(&fleet, "bbbb", &[("NO_COLOR", "1")]).await;
    assert!(plain.contains('━') && !plain.contains("[36m"), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_ends_with_an_interrupt() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let (_controller, terminal) = terminal();
    let mut command = fleet.command(&["apply", "a.yaml", "--all"]);
    command.stdin(terminal).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut errors, mut shown) = (child.stderr.take().unwrap(), Vec::new());
    while !String::from_utf8_lossy(&shown).contains("Continue? [y/N]") {
        let read = errors.read_buf(&mut shown).await.unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
    }
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let status = timeout(DEADLINE, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(130));
    assert!(!fleet.has(1, "nginx") && !fleet.has(2, "nginx"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_gets_lines_without_control_characters() {
    let fleet = TestFleet::start(2).await;
    fleet.write("a.yaml", &manifest("nginx", "1"));
    let output = fleet.run(&["apply", "a.yaml", "--all", "--yes", "--soak", "1s"]).await;
    assert_eq!(output.code, 0, "{output:?}");
    let is_control = |text: &str| text.contains(['\u{1b}', '\r', '━']);
    assert!(!is_control(&output.stderr) && !is_control(&output.stdout), "{output:?}");
    assert!(output.stderr.ends_with("wave 1/1   2/2   ok 2   soak 1s ok\n"), "{output:?}");
}
