//! Waits until a component can be used: its conditions are asked again and again, until a deadline or its death.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::kubectl::Kubectl;
use crate::logs;
use crate::process::Process;

const CONNECT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(30);

/// A question with one right answer.
pub(crate) enum Probe {
    /// A file that the component writes once it is set up.
    File(PathBuf),
    Socket(PathBuf),
    Tcp(SocketAddrV4),
    /// `GET` of a path answers 200.
    Http(SocketAddrV4, &'static str),
    /// The broker with this number answers a metadata request and names itself.
    Kafka(SocketAddrV4, usize),
    Kubectl(Kubectl, Vec<String>),
    /// Every resource definition of the cluster is established.
    Definitions(Kubectl),
}

/// Asks one probe after the other. Fails as soon as the process is gone, with the end of its log.
pub(crate) fn wait(process: &Process, probes: &[Probe], patience: Duration, log: &Path) -> Result<()> {
    let deadline = Instant::now() + patience;
    for probe in probes {
        while let Err(seen) = probe.ask() {
            // The pause between two questions ends early when the process does.
            ensure!(!process.wait_for_end(PAUSE)?, "it ended before {probe}\n{}", logs::tail(log));
            let late = Instant::now() >= deadline;
            ensure!(!late, "still not {probe} after {patience:?}: {seen:#}\n{}", logs::tail(log));
        }
    }
    Ok(())
}

impl Probe {
    fn ask(&self) -> Result<()> {
        match self {
            Self::File(path) => path.metadata().map(drop).context("no such file"),
            Self::Socket(path) => UnixStream::connect(path).map(drop).context("connect"),
            Self::Tcp(address) => connect(*address).map(drop),
            Self::Http(address, path) => get(*address, path),
            Self::Kafka(address, node) => find_broker(*address, *node),
            Self::Kubectl(kubectl, arguments) => kubectl.run(arguments).map(drop),
            Self::Definitions(kubectl) => all_established(kubectl),
        }
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "written {}", path.display()),
            Self::Socket(path) => write!(formatter, "listening on {}", path.display()),
            Self::Tcp(address) => write!(formatter, "listening on {address}"),
            Self::Http(address, path) => write!(formatter, "answering 200 at http://{address}{path}"),
            Self::Kafka(address, _) => write!(formatter, "serving Kafka's protocol on {address}"),
            Self::Kubectl(_, arguments) => write!(formatter, "passing `kubectl {}`", arguments.join(" ")),
            Self::Definitions(_) => write!(formatter, "serving every resource definition"),
        }
    }
}

/// One question about all: `kubectl wait` takes a tenth of a second for each of them.
fn all_established(kubectl: &Kubectl) -> Result<()> {
    let conditions =
        r#"{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Established")].status}{"\n"}{end}"#;
    let answer = kubectl.run(&["get", "customresourcedefinitions", "--output", &format!("jsonpath={conditions}")])?;
    let waiting: Vec<&str> = answer.lines().filter(|line| !line.ends_with(" True")).collect();
    ensure!(waiting.is_empty(), "not established: {}", waiting.join(", "));
    Ok(())
}

fn connect(address: SocketAddrV4) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::V4(address), CONNECT).context("connect")?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    Ok(stream)
}

fn get(address: SocketAddrV4, path: &str) -> Result<()> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200"), "answered {status:?}");
    Ok(())
}

/// Metadata, version 1, about no topic: the answer lists the brokers that are not fenced.
fn find_broker(address: SocketAddrV4, node: usize) -> Result<()> {
    const REQUEST: [u8; 18] = [0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0];
    let mut stream = connect(address)?;
    stream.write_all(&REQUEST)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut answer)?;
    let brokers = brokers(&answer).context("the broker's answer is cut off")?;
    ensure!(brokers.contains(&node), "the broker does not count itself in yet, only {brokers:?}");
    Ok(())
}

/// The numbers of the brokers in an answer: after the request's number and their count, each has its number, host, port and
/// rack, and texts begin with their length, -1 for none.
fn brokers(answer: &[u8]) -> Option<Vec<usize>> {
    let number = |at: usize| Some(i32::from_be_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let text = |at: usize| {
        Some(at + 2 + usize::try_from(i16::from_be_bytes(answer.get(at..at + 2)?.try_into().ok()?)).unwrap_or(0))
    };
    let (mut at, mut brokers) = (8, Vec::new());
    for _ in 0..number(4)? {
        brokers.push(usize::try_from(number(at)?).ok()?);
        at = text(text(at + 4)? + 4)?;
    }
    Some(brokers)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    fn answered_with(bytes: &'static [u8]) -> SocketAddrV4 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 256];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(bytes).unwrap();
        });
        SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn only_200_counts_as_ready() {
        assert!(get(answered_with(b"HTTP/1.1 200 OK\r\n\r\nok"), "/ready").is_ok());
        let seen = get(answered_with(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "/ready").unwrap_err();
        assert!(seen.to_string().contains("503"));
    }

    #[test]
    fn a_broker_that_is_still_fenced_is_not_ready() {
        assert!(find_broker(answered_with(&[0, 0, 0, 8, 0, 0, 0, 7, 0, 0, 0, 0]), 1).is_err());
        // Broker 2, host "k", port 9, without a rack.
        let other = &[0, 0, 0, 21, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, b'k', 0, 0, 0, 9, 0xff, 0xff];
        assert!(find_broker(answered_with(other), 1).is_err());
        assert!(find_broker(answered_with(other), 2).is_ok());
    }

    #[test]
    fn the_death_of_the_process_ends_the_wait_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let command = ["sh", "-c", "echo last words; exec sleep 0.5"].map(String::from);
        let process = crate::process::start(&command, &[], &log).unwrap();
        let probe = Probe::File(folder.path().join("never"));
        let error = wait(&process, &[probe], Duration::from_secs(20), &log).unwrap_err().to_string();
        assert!(error.contains("it ended before") && error.contains("last words"), "{error}");
    }
}
