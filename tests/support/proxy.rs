//! The uplink of the vehicle: a TCP proxy that can reset connections, stop forwarding or limit
//! the rate.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// The most bytes read from one side at once.
const PIECE: usize = 16 * 1024;

/// The interval in which a slow line forwards bytes.
const TICK: Duration = Duration::from_millis(20);

/// The mode of the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// Forwards everything.
    #[default]
    Open,
    /// Forwards nothing, and neither closes nor refuses connections.
    Silent,
    /// Forwards this many bytes per second in each direction.
    Slow(usize),
    /// Refuses new connections. Established ones are not affected.
    Refused,
}

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToBroker,
    ToConnector,
}

#[derive(Clone, Copy, Debug, Default)]
struct Control {
    line: Line,
    /// Connections that are older than this are reset.
    cuts: u64,
    /// The number of bytes in a direction after which the connection is reset.
    cut_after: Option<(Direction, usize)>,
}

/// Listens on the loopback interface and forwards everything to the broker.
pub struct Proxy {
    port: u16,
    control: Arc<watch::Sender<Control>>,
    _task: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the broker on that port.
    pub async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let control = Arc::new(watch::Sender::new(Control::default()));
        let task = tokio::spawn(listen(listener, broker, Arc::clone(&control)));
        Self { port, control, _task: AbortOnDropHandle::new(task) }
    }

    /// The port that the connector must connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the mode of the line. Bytes that a silent line holds back are forwarded when it
    /// opens again, as TCP does.
    pub fn set(&self, line: Line) {
        self.control.send_modify(|control| control.line = line);
    }

    /// Resets all connections (RST on both sides); bytes in flight are lost.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.cuts += 1);
    }

    /// Resets the connections after that many more bytes in one direction, possibly in the
    /// middle of a packet.
    pub fn cut_after(&self, direction: Direction, bytes: usize) {
        self.control.send_modify(|control| control.cut_after = Some((direction, bytes)));
    }

    /// Waits until the reset requested by [`cut_after`](Self::cut_after) has happened.
    pub async fn was_cut(&self) {
        let mut control = self.control.subscribe();
        let cut = control.wait_for(|control| control.cut_after.is_none());
        tokio::time::timeout(super::DEADLINE, cut).await.unwrap().unwrap();
    }
}

async fn listen(listener: TcpListener, broker: u16, control: Arc<watch::Sender<Control>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (connector, _) = accepted.unwrap();
                connections.spawn(connection(connector, broker, Arc::clone(&control)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut connector: TcpStream, broker: u16, control: Arc<watch::Sender<Control>>) {
    let refused = control.borrow().line == Line::Refused;
    let broker = TcpStream::connect(("127.0.0.1", broker)).await;
    let (false, Ok(mut broker)) = (refused, broker) else {
        let _ = connector.set_zero_linger();
        return;
    };
    connector.set_nodelay(true).unwrap();
    broker.set_nodelay(true).unwrap();
    if pass_both(&mut connector, &mut broker, &control).await.is_err() {
        // Closing them now sends RST instead of FIN.
        let _ = (connector.set_zero_linger(), broker.set_zero_linger());
    }
}

/// # Errors
/// The connection was cut, or one side has reset it.
async fn pass_both(
    connector: &mut TcpStream,
    broker: &mut TcpStream,
    control: &watch::Sender<Control>,
) -> io::Result<()> {
    let cuts = control.borrow().cuts;
    let mut cut = control.subscribe();
    let (from_connector, to_connector) = connector.split();
    let (from_broker, to_broker) = broker.split();
    let passing = async {
        tokio::try_join!(
            pass(from_connector, to_broker, Direction::ToBroker, control),
            pass(from_broker, to_connector, Direction::ToConnector, control),
        )
    };
    tokio::select! {
        passed = passing => passed.map(drop),
        _ = cut.wait_for(|control| control.cuts > cuts) => {
            Err(io::ErrorKind::ConnectionReset.into())
        }
    }
}

/// Forwards one direction until it ends.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    control: &watch::Sender<Control>,
) -> io::Result<()> {
    let mut line = control.subscribe();
    let mut buffer = vec![0; PIECE];
    loop {
        let limit = match control.borrow().line {
            Line::Slow(speed) => speed / (1000 / TICK.as_millis() as usize),
            _ => PIECE,
        };
        let read = from.read(&mut buffer[..limit.clamp(1, PIECE)]).await?;
        // The line may have become silent during the read.
        let heard = line.wait_for(|control| control.line != Line::Silent).await;
        heard.map_err(io::Error::other)?;
        if read == 0 {
            return to.shutdown().await;
        }
        let mut pass_on = read;
        let mut cut = false;
        control.send_if_modified(|control| {
            let Some((where_to, left)) = &mut control.cut_after else { return false };
            if *where_to != direction {
                return false;
            }
            pass_on = read.min(*left);
            *left -= pass_on;
            cut = *left == 0;
            if cut {
                control.cut_after = None;
            }
            cut
        });
        to.write_all(&buffer[..pass_on]).await?;
        if cut {
            // The bytes written so far must arrive before the reset discards them.
            tokio::time::sleep(TICK).await;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if matches!(control.borrow().line, Line::Slow(_)) {
            tokio::time::sleep(TICK).await;
        }
    }
}
