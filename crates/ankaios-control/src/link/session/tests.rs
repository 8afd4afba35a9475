use bytes::Bytes;
use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{OpenOptions, Sender};

use super::*;
use crate::pending::Kind;
use crate::pipe::open_input;
use crate::test_fifo::create_fifo;

/// The agent's ends of the FIFOs.
struct Agent {
    folder: TempDir,
    output: Receiver,
    input: Sender,
}

impl Agent {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["input", "output"] {
            create_fifo(folder.path(), name);
        }
        let output = OpenOptions::new().open_receiver(folder.path().join("output")).unwrap();
        // `read_write`, so that it can be opened before there is a reader.
        let input = OpenOptions::new().read_write(true).open_sender(folder.path().join("input"));
        Self { folder, output, input: input.unwrap() }
    }

    fn context(&self, request_timeout: Duration) -> Context {
        let context = Context::new(request_timeout);
        context.set_status(LinkStatus::Connected);
        context
    }

    fn session<'a>(&self, context: &'a mut Context) -> FifoSession<'a> {
        let input = open_input(self.folder.path()).unwrap();
        FifoSession::new(context, input, Output::open(self.folder.path()).unwrap())
    }

    async fn read(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        timeout(SILENCE, self.output.read_exact(&mut bytes)).await.unwrap().unwrap();
        bytes
    }
}

/// Fills `output`. Returns the number of bytes.
async fn fill(session: &FifoSession<'_>) -> usize {
    let page = [0; 4096];
    session.output.write_frame(&page).await.unwrap();
    let more = std::iter::from_fn(|| session.output.write_frame(&page).now_or_never());
    page.len() * (1 + more.count())
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_is_unresponsive_once_it_does_not_answer() {
    let mut agent = Agent::start();
    let mut context = agent.context(Duration::from_secs(60));
    let pending = Arc::clone(&context.pending);
    let mut status = context.status.subscribe();
    let mut session = agent.session(&mut context);
    let filled = fill(&session).await;
    let agent = async {
        for _ in 0..10 {
            sleep(SILENCE).await;
            pending.record_answer();
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
async fn a_hello_that_could_not_be_written_is_written_later() {
    let hello = with_hello(&[]);
    let mut agent = Agent::start();
    let mut context = agent.context(SILENCE);
    let pending = Arc::clone(&context.pending);
    let status = context.status.subscribe();
    let mut session = agent.session(&mut context);
    let add = |frame| {
        let (number, _) = pending.next_id();
        (number, pending.add(number, frame, Kind::Read, None))
    };
    // A Hello does not fit into the pipe together with the large one.
    let small = Bytes::from_static(b"a");
    let large = Bytes::from(vec![b'a'; session.output.capacity()]);

    for abandoned in [None, Some(small.clone()), Some(large)] {
        let filled = fill(&session).await;
        let request = abandoned.map(add);
        session.hello_due = true;
        if request.is_some() {
            session.write_request().await.unwrap();
        } else {
            session.write_probe().await.unwrap();
        }
        agent.read(filled).await;
        // It has timed out.
        request.inspect(|(number, _)| pending.remove(*number));

        let _requests = [add(small.clone()), add(small.clone())];
        for has_hello in [true, false] {
            session.write_request().await.unwrap();
            if has_hello {
                assert_eq!(agent.read(hello.len()).await, hello);
            }
            assert_eq!(agent.read(small.len()).await, small);
        }
    }
    assert!(!pending.is_unresponsive() && !status.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_read_a_hello_is_unresponsive_like_any_other() {
    let agent = Agent::start();
    let mut context = agent.context(SILENCE);
    let pending = Arc::clone(&context.pending);
    let status = context.status.subscribe();
    let mut session = agent.session(&mut context);
    session.established = true;
    session.hello_due = true;
    fill(&session).await;
    pending.mark_unresponsive();
    let asked = Instant::now();
    while !status.has_changed().unwrap() {
        session.check().await.unwrap();
        assert!(session.hello_due && asked.elapsed() < 5 * SILENCE);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_agent_has_time_to_see_that_output_was_closed() {
    let mut agent = Agent::start();
    let mut context = agent.context(Duration::from_secs(60));
    let pending = Arc::clone(&context.pending);
    let mut session = agent.session(&mut context);
    session.established = true;
    let (number, _) = pending.next_id();
    let _request = pending.add(number, Bytes::from_static(b"a"), Kind::Read, None);
    let asked = Instant::now();
    let agent = async {
        agent.output.read_to_end(&mut Vec::new()).await.unwrap();
        let closed = asked.elapsed();
        assert!((2 * SILENCE..2 * SILENCE + SILENCE / 10).contains(&closed), "{closed:?}");
        // It gets no processor time.
        sleep(Duration::from_millis(150)).await;
        assert_eq!(agent.output.try_read(&mut [0]).unwrap(), 0, "output is open again");
    };
    tokio::select! {
        reason = session.run() => panic!("{reason}"),
        () = agent => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_is_given_up_before_a_probe_is_written() {
    let mut agent = Agent::start();
    let mut context = agent.context(Duration::from_secs(60));
    let pending = Arc::clone(&context.pending);
    let mut session = agent.session(&mut context);
    session.established = true;
    let (number, _) = pending.next_id();
    let request = Bytes::from_static(b"a");
    let _request = pending.add(number, request.clone(), Kind::Read, None);
    let agent = async {
        assert_eq!(agent.read(request.len()).await, request);
        // On a busy machine, the reader may begin to wait later than the request was written.
        sleep(Duration::from_millis(150)).await;
        // The header of a frame of 2048 bytes.
        agent.input.write_all(&[0x80, 0x10]).await.unwrap();
        let cut_off = Instant::now() + reader::FRAME_TIMEOUT;
        agent.output.read_exact(&mut [0]).await.unwrap();
        assert!(Instant::now() >= cut_off);
    };
    tokio::select! {
        reason = session.run() => panic!("{reason}"),
        () = agent => {}
    }
}
