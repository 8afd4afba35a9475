//! Connecting to several addresses of one name, with real sockets.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::address_book::AddressBook;
use super::error::DialError;
use super::names::Names;
use super::proxy::ProxyChoice;
use super::race::RESOLUTION_TIMEOUT;
use super::shell::open;
use super::transport::Transport;
use crate::broker_address::BrokerAddress;
use crate::brokers::{BrokerNode, Brokers};
use crate::options::SessionOptions;

/// Two addresses of this machine, which a name may have.
const FIRST: [u8; 4] = [127, 0, 0, 2];
const SECOND: [u8; 4] = [127, 0, 0, 1];

/// Reaches the broker through the proxy of an environment.
fn use_proxy(options: &mut SessionOptions, variable: impl Fn(&str) -> Option<String>) {
    let address = options.broker().clone();
    let proxy = ProxyChoice::from_environment(variable, &address).unwrap();
    options.brokers = Brokers::new(vec![BrokerNode { address, proxy }]).unwrap();
}

/// Options for a name with these addresses, in this order.
fn options(addresses: &[[u8; 4]], port: u16) -> SessionOptions {
    let addresses = addresses.iter().map(|address| IpAddr::from(*address)).collect();
    SessionOptions {
        brokers: BrokerAddress::from_settings("broker.example", None, port).unwrap().into(),
        addresses: AddressBook::fixed(addresses),
        ..SessionOptions::for_tests()
    }
}

async fn listen(address: [u8; 4], port: u16) -> TcpListener {
    TcpListener::bind((IpAddr::from(address), port)).await.unwrap()
}

fn port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

/// A port whose queue of connections is full: it does not answer any more. Returns what keeps it
/// so.
async fn black_hole(address: [u8; 4], port: u16) -> (TcpListener, Vec<TcpStream>) {
    let address = SocketAddr::from((address, port));
    let socket = TcpSocket::new_v4().unwrap();
    // The port may have connections of an earlier run in TIME-WAIT.
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(0).unwrap();
    let mut streams = Vec::new();
    loop {
        match timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
            Ok(stream) => streams.push(stream.unwrap()),
            Err(_) => return (listener, streams),
        }
    }
}

#[tokio::test]
async fn an_address_that_leads_nowhere_costs_little_time() {
    let living = listen(SECOND, 0).await;
    let port = port(&living);
    let _hole = black_hole(FIRST, port).await;
    let begin = Instant::now();
    let dialed = open(&options(&[FIRST, SECOND], port)).await.unwrap();
    assert_eq!(dialed.address, SocketAddr::from((SECOND, port)));
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_address_that_refuses_costs_no_time() {
    let living = listen(SECOND, 0).await;
    let port = port(&living);
    let begin = Instant::now();
    let dialed = open(&options(&[FIRST, SECOND], port)).await.unwrap();
    assert_eq!(dialed.address, SocketAddr::from((SECOND, port)));
    assert!(begin.elapsed() < Duration::from_millis(250), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn an_address_whose_handshake_hangs_does_not_keep_others_from_being_tried() {
    let living = listen(SECOND, 0).await;
    let port = port(&living);
    let _silent = listen(FIRST, port).await;
    let transport = Transport::WebSocket { path: "/mqtt".into() };
    let options = SessionOptions { transport, ..options(&[FIRST, SECOND], port) };
    let refuse = async {
        let (mut stream, _) = living.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await.unwrap();
    };
    let refused = timeout(Duration::from_secs(5), async {
        tokio::select! {
            // It goes on with the address that hangs.
            _ = open(&options) => false,
            () = refuse => true,
        }
    });
    assert_eq!(refused.await, Ok(true));
}

#[tokio::test]
async fn an_address_that_did_not_prove_itself_comes_last() {
    let first = listen(FIRST, 0).await;
    let port = port(&first);
    let _second = listen(SECOND, port).await;
    let options = options(&[FIRST, SECOND], port);
    let mut order = Vec::new();
    for _ in 0..4 {
        let address = open(&options).await.unwrap().address;
        options.addresses.used(address);
        order.push(address);
    }
    let [first, second] = [FIRST, SECOND].map(|address| SocketAddr::from((address, port)));
    assert_eq!(order, [first, second, first, second]);
    options.addresses.proved(second);
    assert_eq!(open(&options).await.unwrap().address, second);
}

#[tokio::test]
async fn the_error_names_each_address_if_they_differ() {
    let silent = listen(FIRST, 0).await;
    let port = port(&silent);
    let refused = open(&options(&[SECOND], port)).await.err().unwrap();
    assert_eq!(refused.to_string(), "it cannot be reached: Connection refused (os error 111)");
    let transport = Transport::WebSocket { path: "/mqtt".into() };
    let options = SessionOptions { transport, ..options(&[FIRST, SECOND], port) };
    let close = async {
        drop(silent.accept().await.unwrap());
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        opened = open(&options) => opened.err().unwrap(),
        () = close => unreachable!(),
    };
    assert!(matches!(error, DialError::Addresses(_)));
    let error = error.to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}: Connection refused")), "{error}");
    assert!(error.contains(&format!("127.0.0.2:{port}: ")), "{error}");
}

#[tokio::test]
async fn localhost_is_known_without_a_name_server() {
    let listener = listen(SECOND, 0).await;
    let broker = BrokerAddress::from_settings("LocalHost.", None, port(&listener)).unwrap();
    // For all other names, there is no address.
    let options = SessionOptions { brokers: broker.into(), ..options(&[], 0) };
    assert!(open(&options).await.is_ok());
    drop(listener);
    let error = open(&options).await.err().unwrap().to_string();
    assert_eq!(error, "it cannot be reached: Connection refused (os error 111)");
}

#[tokio::test]
async fn a_network_interface_that_does_not_exist_is_named() {
    let broker = BrokerAddress::from_settings("fe80::1%wlan9", None, 1883).unwrap();
    let mut options = SessionOptions { brokers: broker.into(), ..options(&[], 0) };
    options.addresses.names = Names::default();
    let error = open(&options).await.err().unwrap();
    assert!(error.to_string().contains("there is no network interface \"wlan9\""), "{error}");
    let help = error.help(options.broker(), None).unwrap();
    assert!(help.contains("the network interface that leads to the broker"), "{help}");
    assert!(!help.contains("name server"), "{help}");
}

#[tokio::test(start_paused = true)]
async fn a_name_server_that_does_not_answer_is_named() {
    let (_keep, hang) = std::sync::mpsc::channel::<()>();
    let hang = std::sync::Mutex::new(hang);
    let names = Names::with(move |_, _| {
        let _ = hang.lock().unwrap().recv();
        Ok(Vec::new())
    });
    let mut options = options(&[], 1883);
    options.addresses.names = names;
    let begin = tokio::time::Instant::now();
    let error = open(&options).await.err().unwrap();
    assert_eq!(begin.elapsed(), RESOLUTION_TIMEOUT);
    assert_eq!(
        error.to_string(),
        "the name broker.example is not resolved: no answer from the name server within 8s"
    );
    let proxy = |name: &str| (name == "https_proxy").then(|| "proxy.example:3128".to_owned());
    use_proxy(&mut options, proxy);
    let error = open(&options).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the proxy http://proxy.example:3128 cannot be reached: the name proxy.example is not \
         resolved: no answer from the name server within 8s"
    );
}

#[tokio::test]
async fn a_name_without_an_address_is_named() {
    let error = open(&options(&[], 1883)).await.err().unwrap();
    assert_eq!(error.to_string(), "the name broker.example is not resolved: it has no address");
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_says_nothing_is_named() {
    let silent = listen(SECOND, 0).await;
    let url = format!("http://127.0.0.1:{}", port(&silent));
    let proxy = |name: &str| (name == "https_proxy").then(|| url.clone());
    let mut options = options(&[], 1883);
    use_proxy(&mut options, proxy);
    let error = open(&options).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        format!("the proxy {url} does not answer the request for a tunnel within 10s")
    );
    // It begins an answer and does not end it.
    let begin = async {
        let (mut stream, _) = silent.accept().await.unwrap();
        let (mut second, _) = silent.accept().await.unwrap();
        for stream in [&mut stream, &mut second] {
            let _ = stream.read(&mut [0; 1000]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        opened = open(&options) => opened.err().unwrap(),
        () = begin => unreachable!(),
    };
    assert!(error.to_string().contains("does not answer the request for a tunnel"), "{error}");
}

#[tokio::test]
async fn help_says_what_a_proxy_or_a_name_needs() {
    let refusing = listen(SECOND, 0).await;
    let url = format!("http://127.0.0.1:{}", port(&refusing));
    let proxy = |name: &str| (name == "https_proxy").then(|| url.clone());
    let broker = BrokerAddress::from_settings("localhost", None, 1883).unwrap();
    let mut options = SessionOptions { brokers: broker.into(), ..options(&[], 1883) };
    use_proxy(&mut options, proxy);
    let refuse = async {
        let (mut stream, _) = refusing.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1000]).await;
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    };
    let error = tokio::select! {
        opened = open(&options) => opened.err().unwrap(),
        () = refuse => unreachable!(),
    };
    let help = error.help(options.broker(), None).unwrap();
    assert!(help.contains("add localhost to NO_PROXY"), "{help}");
    options.brokers = BrokerAddress::from_settings("broker.local", None, 1883).unwrap().into();
    let error = open(&options).await.err().unwrap();
    let help = error.help(options.broker(), None).unwrap();
    assert!(help.contains("multicast DNS, which is not supported"), "{help}");
}
