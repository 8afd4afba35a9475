//! A tunnel through an HTTP proxy (CONNECT, RFC 9110, 9.3.6).

use std::pin::pin;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::http::{HeaderMap, StatusCode};
use hyper::{Request, header, upgrade};
use hyper_util::rt::TokioIo;

use super::error::ProxyCause;
use super::line::ByteStream;
use super::proxy::HttpProxy;
use crate::broker_address::BrokerAddress;

/// Most bytes of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

/// Most kinds of logins of a proxy that are looked at, and most characters of each.
const MAX_SCHEMES: usize = 8;
const MAX_SCHEME: usize = 16;

/// Asks the proxy at the other end of `stream` for a tunnel to the broker.
pub(super) async fn open(
    stream: Box<dyn ByteStream>,
    proxy: &HttpProxy,
    broker: &BrokerAddress,
) -> Result<Box<dyn ByteStream>, ProxyCause> {
    let request = request(proxy, broker)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
        .await?;
    let mut connection = pin!(connection.with_upgrades());
    let mut tunnel = pin!(async {
        let response = sender.send_request(request).await?;
        match response.status() {
            status if status.is_success() => Ok(upgrade::on(response).await?),
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Err(ProxyCause::Login { schemes: schemes(response.headers()) })
            }
            status => Err(ProxyCause::Status(status)),
        }
    });
    let upgraded = tokio::select! {
        biased;
        upgraded = &mut tunnel => upgraded?,
        // It has nothing more to do for the request, or has failed, which the request reports.
        _ = &mut connection => tunnel.await?,
    };
    Ok(Box::new(TokioIo::new(upgraded)))
}

fn request(proxy: &HttpProxy, broker: &BrokerAddress) -> Result<Request<Empty<Bytes>>, ProxyCause> {
    let target = target(broker);
    let mut request = Request::connect(&target).header(header::HOST, &target);
    if let Some(login) = &proxy.login {
        request = request.header(header::PROXY_AUTHORIZATION, login.clone());
    }
    request.body(Empty::new()).map_err(|_| ProxyCause::Status(StatusCode::BAD_REQUEST))
}

/// The kinds of logins that a proxy offers (RFC 9110, 11.6.1).
fn schemes(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::PROXY_AUTHENTICATE).iter();
    // A part without a scheme is a parameter of the one before.
    let scheme = |part: &str| {
        let scheme = part.split_ascii_whitespace().next()?;
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || c == '-';
        scheme.chars().all(is_scheme).then(|| scheme.chars().take(MAX_SCHEME).collect())
    };
    let values = values.filter_map(|value| value.to_str().ok());
    let mut found: Vec<String> =
        values.flat_map(|value| value.split(',')).filter_map(scheme).take(MAX_SCHEMES).collect();
    found.dedup();
    found
}

/// The broker as the proxy is asked for it.
fn target(broker: &BrokerAddress) -> String {
    let (host, port) = (broker.tls_host(), broker.port());
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::timeout;

    use super::*;
    use crate::dial::error::DialError;
    use crate::dial::proxy::ProxyChoice;

    fn broker(address: &str) -> BrokerAddress {
        BrokerAddress::from_settings(address, None, 8883).unwrap()
    }

    fn proxy(url: &str) -> HttpProxy {
        let url = |name: &str| (name == "HTTPS_PROXY").then(|| url.to_owned());
        let choice = ProxyChoice::from_environment(url, &broker("broker")).unwrap();
        choice.proxy().unwrap().clone()
    }

    /// What the proxy reads, and what becomes of its answer.
    async fn ask(address: &str, answer: &[u8]) -> (String, Result<Box<dyn ByteStream>, String>) {
        let (stream, mut peer) = duplex(1_000_000);
        let (proxy, broker) = (proxy("http://user:secret@proxy:3128"), broker(address));
        let serving = async {
            let mut request = vec![0; 10_000];
            let read = peer.read(&mut request).await.unwrap();
            peer.write_all(answer).await.unwrap();
            String::from_utf8(request.drain(..read).collect()).unwrap()
        };
        let (request, opened) = tokio::join!(serving, open(Box::new(stream), &proxy, &broker));
        (request, opened.map_err(|cause| cause.to_string()))
    }

    #[tokio::test]
    async fn the_tunnel_carries_bytes_from_the_first_one_on() {
        for (address, target) in
            [("broker.", "broker:8883"), ("[::1]:1", "[::1]:1"), ("my_broker", "my_broker:8883")]
        {
            let (request, opened) = ask(address, b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nhello").await;
            assert!(request.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{request}");
            assert!(request.to_lowercase().contains(&format!("\r\nhost: {target}\r\n")));
            assert!(request.contains(": Basic dXNlcjpzZWNyZXQ=\r\n"), "{request}");
            let mut bytes = [0; 5];
            opened.unwrap().read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hello");
        }
    }

    #[tokio::test]
    async fn a_proxy_without_basic_is_told_from_one_that_refuses_the_login() {
        for (headers, expected, help) in [
            ("", "status 407", "it does not accept the login"),
            (
                "Proxy-Authenticate: Negotiate\r\nproxy-authenticate: NTLM\r\n",
                "status 407 and offers Negotiate, NTLM",
                "only Basic is supported",
            ),
            (
                "Proxy-Authenticate: Digest realm=\"a, b\", nonce=\"c\", Negotiate\r\n",
                "and offers Digest, Negotiate",
                "only Basic is supported",
            ),
            (
                "Proxy-Authenticate: NTLM, basic realm=\"proxy\"\r\n",
                "and offers NTLM, basic",
                "it does not accept the login",
            ),
        ] {
            let answer = format!("HTTP/1.1 407 Login\r\n{headers}\r\n");
            let (stream, mut peer) = duplex(10_000);
            let (proxy, broker) = (proxy("http://user:secret@proxy:3128"), broker("broker"));
            let serving = async {
                peer.read_u8().await.unwrap();
                peer.write_all(answer.as_bytes()).await.unwrap();
                peer
            };
            let opening = open(Box::new(stream), &proxy, &broker);
            let (_peer, opened) = tokio::join!(serving, opening);
            let cause = opened.err().unwrap();
            assert!(cause.to_string().ends_with(expected), "{cause}");
            let error = DialError::proxy(&proxy, cause);
            assert!(error.is_lasting());
            assert!(
                error.help(&broker, None).unwrap().contains(help),
                "{:?}",
                error.help(&broker, None)
            );
        }
    }

    #[tokio::test]
    async fn other_answers_are_errors() {
        let long = [b"HTTP/1.1 200 OK\r\nA: ".as_slice(), &vec![b'a'; 100_000]].concat();
        let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"A: b\r\n".repeat(1000)].concat();
        for (answer, expected) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], "407"),
            (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99999\r\n\r\n<html>", "403"),
            (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "502"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\n\r\n", "302"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer with HTTP"),
            (b"\x15\x03\x01\x00\x02\x02\x46", "does not answer with HTTP"),
            (&long, "longer than"),
            (&many, "longer than"),
        ] {
            let limit = Duration::from_secs(5);
            let (_, opened) = timeout(limit, ask("broker", answer)).await.unwrap();
            let error = opened.err().unwrap();
            assert!(error.contains(expected), "{error}, not {expected}");
        }
        let (stream, mut peer) = duplex(1000);
        peer.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
        let early = open(Box::new(stream), &proxy("http://proxy:1"), &broker("broker")).await;
        let early = early.err().unwrap();
        assert!(matches!(early, ProxyCause::NotHttp), "{early:?}");
        let (stream, peer) = duplex(1000);
        drop(peer);
        let closed = open(Box::new(stream), &proxy("http://proxy:1"), &broker("broker")).await;
        let error = closed.err().unwrap().to_string();
        assert!(error.contains("closes the connection"), "{error}");
    }
}
