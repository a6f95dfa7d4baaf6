//! A client that posts as an API server does, and its batch backend: many posts at one time, five attempts, a
//! pause that grows.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An API server gives up then.
pub(crate) const GIVES_UP: Duration = Duration::from_secs(30);

/// A file of `tests/data/tls`.
pub(crate) fn pem(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) text: String,
    /// From the last byte that was sent, or the failure to send more.
    pub(crate) took: Duration,
}

/// Who posts, and where to.
#[derive(Clone)]
pub(crate) struct Client {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    token: Option<String>,
}

impl Client {
    pub(crate) fn plain(address: SocketAddr) -> Client {
        Client { address, tls: None, token: None }
    }

    /// Trusts that authority, and shows that certificate if there is one.
    pub(crate) fn tls(address: SocketAddr, authority: &str, shown: Option<&str>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem(authority)).unwrap()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain =
                    vec![CertificateDer::from_pem_file(pem(&format!("{name}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(pem(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Client { address, tls: Some(Arc::new(config)), token: None }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Client {
        self.token = Some(token.to_owned());
        self
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> io::Result<Connection> {
        let socket = TcpStream::connect_timeout(&self.address, GIVES_UP)?;
        socket.set_read_timeout(Some(GIVES_UP))?;
        socket.set_write_timeout(Some(GIVES_UP))?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = ServerName::try_from("127.0.0.1").unwrap();
                let connection = ClientConnection::new(Arc::clone(config), name);
                Box::new(StreamOwned::new(connection.map_err(io::Error::other)?, socket))
            }
        };
        Ok(Connection { stream: BufReader::new(stream), token: self.token.clone() })
    }

    /// A post on a connection of its own, as an API server sends it.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.connect()?.post(path, body)
    }

    /// As [`Client::post`], with other headers.
    pub(crate) fn send(&self, line: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        self.connect()?.send(line, headers, body)
    }
}

/// A connection, which is kept open between posts.
pub(crate) struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    token: Option<String>,
}

impl Connection {
    pub(crate) fn post(&mut self, path: &str, body: &[u8]) -> io::Result<Answer> {
        let headers = format!(
            "Content-Length: {}\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n",
            body.len()
        );
        self.send(&format!("POST {path}?timeout=30s"), &headers, body)
    }

    pub(crate) fn send(&mut self, line: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let token = self.token.as_ref().map(|it| format!("Authorization: Bearer {it}\r\n"));
        let head = format!(
            "{line} HTTP/1.1\r\nHost: kustos\r\nUser-Agent: Go-http-client/1.1\r\n{}{headers}\r\n",
            token.unwrap_or_default()
        );
        let stream = self.stream.get_mut();
        // Whoever is refused may be told before all is sent; the answer counts.
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
        let sent = sent.and_then(|()| stream.flush());
        let since = Instant::now();
        self.answer(since).map_err(|error| sent.err().unwrap_or(error))
    }

    /// Writes bytes as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush())
    }

    /// Reads the next answer.
    pub(crate) fn answer(&mut self, since: Instant) -> io::Result<Answer> {
        let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(ended());
            }
        }
        let head = head.to_ascii_lowercase();
        let code = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(ended)?;
        let length = head.lines().find_map(|it| it.strip_prefix("content-length: ")).unwrap();
        let mut text = vec![0; length.parse().unwrap()];
        self.stream.read_exact(&mut text)?;
        let text = String::from_utf8(text).unwrap();
        Ok(Answer { code, head, text, took: since.elapsed() })
    }
}

/// Where batches are posted to, and how patiently.
#[derive(Clone, Copy)]
pub(crate) struct Post<'a> {
    pub(crate) client: &'a Client,
    pub(crate) path: &'a str,
    /// A second of the pauses between attempts.
    pub(crate) second: Duration,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Whether it was told that it is kept, before it had no attempt left.
    pub(crate) kept: bool,
    /// Every answer, as code and time.
    pub(crate) answers: Vec<(u16, Duration)>,
}

/// Posts a batch as `k8s.io/apiserver/pkg/util/webhook` does: up to five attempts, after a pause of 10 s that
/// grows by half. Here each second of a pause is `second`. One that is `deaf` does not hear the first answer, as when the
/// network fails just then: what was kept comes again.
pub(crate) fn deliver(post: &Post<'_>, body: &[u8], deaf: bool) -> Outcome {
    let Post { client, path, second } = *post;
    let (mut outcome, mut pause) = (Outcome::default(), second * 10);
    for attempt in 0..5 {
        if attempt > 0 {
            std::thread::sleep(pause);
            pause = pause * 3 / 2;
        }
        if deaf && attempt == 0 {
            drop(client.post(path, body));
        } else if let Ok(answer) = client.post(path, body) {
            outcome.answers.push((answer.code, answer.took));
            if answer.code == 200 {
                outcome.kept = true;
                break;
            }
        }
    }
    outcome
}

/// The genuine bodies of a run of the corpus with their heads, in the order they were sent.
pub(crate) fn genuine(folder: &Path) -> Vec<(String, Vec<u8>)> {
    super::common::files(folder, &["body"])
        .into_iter()
        .map(|it| {
            let head = fs::read_to_string(it.with_extension("headers")).unwrap();
            (head, fs::read(it).unwrap())
        })
        .collect()
}
