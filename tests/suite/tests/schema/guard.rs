//! Stands before the schema registry: asks for credentials, speaks TLS, counts what is asked, and can be deaf. The registry of the
//! tests itself lets everybody in.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running guard. It ends with the process.
pub(crate) struct Guard {
    /// Confluent's API behind it.
    pub url: String,
    post: Arc<Post>,
}

/// What a guard knows.
struct Post {
    registry: SocketAddr,
    /// The header `authorization`, where it asks for one.
    credential: Option<String>,
    is_deaf: AtomicBool,
    /// The first lines of the requests.
    asked: Mutex<Vec<String>>,
}

const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

impl Guard {
    /// Stands before the registry with that address.
    pub(crate) fn stand(registry: &str, credential: Option<&str>, tls: Option<ServerConfig>) -> Self {
        let (address, path) = registry.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/{path}", listener.local_addr().unwrap());
        let post = Arc::new(Post {
            registry: address.parse().unwrap(),
            credential: credential.map(str::to_owned),
            is_deaf: AtomicBool::new(false),
            asked: Mutex::default(),
        });
        let (tls, keeper) = (tls.map(Arc::new), Arc::clone(&post));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, tls, post) = (stream.unwrap(), tls.clone(), Arc::clone(&keeper));
                // Whoever breaks off is asked again by the operator.
                thread::spawn(move || match tls {
                    Some(config) => {
                        let connection = ServerConnection::new(config).unwrap();
                        post.pass_on(&mut StreamOwned::new(connection, stream))
                    }
                    None => post.pass_on(&mut { stream }),
                });
            }
        });
        Self { url, post }
    }

    /// Whether it answers nobody from now on.
    pub(crate) fn is_deaf(&self, is_deaf: bool) {
        self.post.is_deaf.store(is_deaf, Ordering::SeqCst);
    }

    /// The methods and paths of all requests so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.post.asked.lock().unwrap().clone()
    }
}

impl Post {
    /// One request and its answer, then the connection ends.
    fn pass_on(&self, client: &mut (impl Read + Write)) -> io::Result<()> {
        let (head, body) = request(client)?;
        while self.is_deaf.load(Ordering::SeqCst) {
            thread::park_timeout(std::time::Duration::from_millis(20));
        }
        self.asked.lock().unwrap().push(head.lines().next().unwrap_or_default().replace(" HTTP/1.1", ""));
        let is_allowed = self.credential.as_ref().is_none_or(|credential| {
            head.lines().any(|line| {
                line.split_once(": ").is_some_and(|(name, value)| name == "authorization" && value == credential)
            })
        });
        if !is_allowed {
            client.write_all(UNAUTHORIZED)?;
            return client.flush();
        }
        let mut registry = TcpStream::connect(self.registry)?;
        registry.write_all(head.replacen("\r\n", "\r\nconnection: close\r\n", 1).as_bytes())?;
        registry.write_all(&body)?;
        let mut answer = Vec::new();
        registry.read_to_end(&mut answer)?;
        client.write_all(&answer)?;
        client.flush()
    }
}

fn request(client: &mut impl Read) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        let mut some = [0; 4096];
        let count = client.read(&mut some)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&some[..count]);
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap_or(0);
    let read = body.len();
    body.resize(length, 0);
    client.read_exact(&mut body[read..])?;
    Ok((head, body))
}
