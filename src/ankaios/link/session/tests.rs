use bytes::Bytes;
use futures_util::FutureExt;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::{OpenOptions, Sender};

use super::*;
use crate::ankaios::link::connect;
use crate::ankaios::pending::Kind;
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
    assert_eq!(written, Ok(true));
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_was_given_up_is_not_forgotten() {
    let hello = with_hello(&[]);
    let mut agent = Agent::start();
    let mut link = agent.link(SILENCE);
    let pending = Arc::clone(&link.pending);
    let status = link.status();
    let mut session = agent.session(&mut link);
    let add = |frame| {
        let (number, _) = pending.next_id();
        (number, pending.add(number, frame, Kind::Read, None))
    };
    // Behind the last one there is no room for a Hello.
    let small = Bytes::from_static(b"a");
    let large = Bytes::from(vec![b'a'; session.output.capacity()]);

    for given_up in [None, Some(small.clone()), Some(large)] {
        let filled = fill(&session).await;
        let request = given_up.map(add);
        session.greet = true;
        if request.is_some() {
            session.write_request().await.unwrap();
        } else {
            session.write_probe().await.unwrap();
        }
        agent.read(filled).await;
        // Its time is over.
        request.inspect(|(number, _)| pending.remove(*number));

        let _requests = [add(small.clone()), add(small.clone())];
        for greeted in [true, false] {
            session.write_request().await.unwrap();
            if greeted {
                assert_eq!(agent.read(hello.len()).await, hello);
            }
            assert_eq!(agent.read(small.len()).await, small);
        }
    }
    assert!(!pending.is_overdue() && !status.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_take_a_hello_is_silent_like_any_other() {
    let agent = Agent::start();
    let mut link = agent.link(SILENCE);
    let pending = Arc::clone(&link.pending);
    let status = link.status();
    let mut session = agent.session(&mut link);
    session.proven = true;
    session.greet = true;
    fill(&session).await;
    pending.set_overdue();
    let asked = Instant::now();
    while !status.has_changed().unwrap() {
        session.look().await.unwrap();
        assert!(session.greet && asked.elapsed() < 5 * SILENCE);
    }
}
