use futures_util::FutureExt;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Sender};

use super::*;
use crate::ankaios::link::connect;
use crate::ankaios::pipe::open_input;

/// The agent's ends of the FIFOs.
struct Agent {
    folder: TempDir,
    output: Receiver,
    _input: Sender,
}

impl Agent {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["input", "output"] {
            let mode = Mode::RUSR | Mode::WUSR;
            mknodat(CWD, folder.path().join(name), FileType::Fifo, mode, 0).unwrap();
        }
        let output = OpenOptions::new().open_receiver(folder.path().join("output")).unwrap();
        // Also before anybody reads it.
        let input = OpenOptions::new().read_write(true).open_sender(folder.path().join("input"));
        Self { folder, output, _input: input.unwrap() }
    }

    fn link(&self, request_timeout: Duration) -> Link {
        let link = connect(self.folder.path().to_owned(), request_timeout).1;
        link.set_status(LinkStatus::Connected);
        link
    }

    fn session<'a>(&self, link: &'a mut Link) -> Session<'a> {
        let input = open_input(self.folder.path()).unwrap();
        Session::new(link, input, Output::open(self.folder.path()).unwrap())
    }

    async fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        timeout(SILENCE, self.output.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }
}

/// Leaves no room in `output`. Returns how many bytes that takes.
async fn fill(session: &Session<'_>) -> usize {
    let page = [0; 4096];
    session.output.write_frame(&page).await.unwrap();
    let more = std::iter::from_fn(|| session.output.write_frame(&page).now_or_never());
    page.len() * (1 + more.count())
}

#[tokio::test(start_paused = true)]
async fn an_agent_without_room_is_silent_once_it_does_not_answer() {
    let mut agent = Agent::start();
    let mut link = agent.link(Duration::from_secs(60));
    let pending = Arc::clone(&link.pending);
    let mut status = link.status();
    let mut session = agent.session(&mut link);
    let filled = fill(&session).await;
    let agent = async {
        for _ in 0..10 {
            sleep(SILENCE).await;
            pending.heard();
        }
        assert!(!status.has_changed().unwrap());
        let last = Instant::now();
        status.changed().await.unwrap();
        assert!((2 * SILENCE..3 * SILENCE).contains(&last.elapsed()));
        agent.read(filled).await;
    };
    let (written, ()) = tokio::join!(session.write(b"a", 1), agent);
    written.unwrap();
}
