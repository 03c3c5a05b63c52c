//! A way to a Kafka broker that knows which requests change something: one of them, or the answer to it, can get lost.
//!
//! It stands before a broker that is alone in its cluster, and whoever asks where the broker is gets its own address.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    task::JoinSet,
};

use crate::proxy::{Deed, lock};

type Judge = Arc<dyn Fn(Write) -> Fate + Send + Sync>;
/// What is done when the answer to the request with that correlation id gets lost.
type Lost = Mutex<HashMap<i32, Deed>>;

/// A request that changes something, of those that an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Makes topics.
    CreateTopics,
    /// Adds partitions to topics.
    CreatePartitions,
    /// Sets and resets settings.
    AlterConfigs,
    /// Deletes topics.
    DeleteTopics,
    /// Commits offsets of a consumer group.
    CommitOffsets,
    /// Deletes consumer groups.
    DeleteGroups,
}

/// What happens to such a request.
#[derive(Clone)]
pub enum Fate {
    /// Nothing special.
    Forward,
    /// The connection breaks before it arrives.
    Lose(Deed),
    /// The connection breaks after it was carried out, before anybody hears of it.
    LoseAnswer(Deed),
}

impl Write {
    /// By the keys of Kafka's protocol guide.
    const fn with_key(key: i16) -> Option<Self> {
        match key {
            8 => Some(Self::CommitOffsets),
            19 => Some(Self::CreateTopics),
            20 => Some(Self::DeleteTopics),
            37 => Some(Self::CreatePartitions),
            42 => Some(Self::DeleteGroups),
            44 => Some(Self::AlterConfigs),
            _ => None,
        }
    }
}

/// A running proxy; it ends when this is dropped.
pub struct KafkaProxy {
    /// `host:port` where it listens.
    pub address: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

struct Shared {
    broker: SocketAddr,
    own: SocketAddr,
    judge: Mutex<Judge>,
}

impl KafkaProxy {
    /// Starts a proxy before the broker at `host:port`.
    pub async fn before(broker: &str) -> anyhow::Result<Self> {
        let broker: SocketAddr = broker.parse().context("the broker's address")?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("listen for the operator")?;
        let own = listener.local_addr()?;
        let shared = Arc::new(Shared { broker, own, judge: Mutex::new(Arc::new(|_| Fate::Forward)) });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address: own.to_string(), shared, _serving: serving })
    }

    /// From now on this decides what happens to requests that change something.
    pub fn judge(&self, judge: impl Fn(Write) -> Fate + Send + Sync + 'static) {
        *lock(&self.shared.judge) = Arc::new(judge);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // An error is a connection that was broken, by either side.
            let _ = shared.serve(stream).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> anyhow::Result<()> {
        let mut broker = TcpStream::connect(self.broker).await.context("reach the broker")?;
        // A frame does not wait until the one before it is acknowledged.
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let lost = Lost::default();
        let (mut from_client, mut to_client) = client.split();
        let (mut from_broker, mut to_broker) = broker.split();
        tokio::select! {
            end = self.ask(&mut from_client, &mut to_broker, &lost) => end,
            end = self.answer(&mut from_broker, &mut to_client, &lost) => end,
        }
    }

    /// Until the connection breaks.
    async fn ask(&self, client: &mut ReadHalf<'_>, broker: &mut WriteHalf<'_>, lost: &Lost) -> anyhow::Result<()> {
        loop {
            let request = receive(client).await?;
            let (key, correlation) = header(&request)?;
            if let Some(write) = Write::with_key(key) {
                let judge = Arc::clone(&lock(&self.judge));
                match judge(write) {
                    Fate::Forward => {}
                    Fate::Lose(deed) => {
                        deed();
                        bail!("the connection broke")
                    }
                    Fate::LoseAnswer(deed) => drop(lock(lost).insert(correlation, deed)),
                }
            }
            send(broker, &request).await?;
        }
    }

    /// Until the connection breaks.
    async fn answer(&self, broker: &mut ReadHalf<'_>, client: &mut WriteHalf<'_>, lost: &Lost) -> anyhow::Result<()> {
        loop {
            let answer = receive(broker).await?;
            let (correlation, _) = answer.split_first_chunk::<4>().context("an answer has a correlation id")?;
            let deed = lock(lost).remove(&i32::from_be_bytes(*correlation));
            if let Some(deed) = deed {
                deed();
                bail!("the connection broke")
            }
            send(client, &redirected(&answer, self.broker, self.own)).await?;
        }
    }
}

/// A request or an answer, without its size, which stands before each.
async fn receive(from: &mut ReadHalf<'_>) -> anyhow::Result<Vec<u8>> {
    let size = from.read_i32().await?;
    let mut frame = vec![0; usize::try_from(size)?];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn send(to: &mut WriteHalf<'_>, frame: &[u8]) -> anyhow::Result<()> {
    let size = i32::try_from(frame.len())?;
    to.write_all(&[&size.to_be_bytes()[..], frame].concat()).await?;
    Ok(())
}

/// Which request it is, and its correlation id: the beginning of a request is the same in all versions.
fn header(request: &[u8]) -> anyhow::Result<(i16, i32)> {
    const SHORT: &str = "a request has a header";
    let (key, rest) = request.split_first_chunk::<2>().context(SHORT)?;
    let (_version, rest) = rest.split_first_chunk::<2>().context(SHORT)?;
    let (correlation, _) = rest.split_first_chunk::<4>().context(SHORT)?;
    Ok((i16::from_be_bytes(*key), i32::from_be_bytes(*correlation)))
}

/// The answer with the proxy's address in each place where it has the broker's. Kafka writes an address as a text and a port of 32 bits;
/// before a text stands its length, in 16 bits of old, and as a varint of one more since there are flexible versions.
fn redirected(answer: &[u8], broker: SocketAddr, own: SocketAddr) -> Vec<u8> {
    let written = |address: SocketAddr| {
        let (host, port) = (address.ip().to_string(), u32::from(address.port()).to_be_bytes());
        let length = u8::try_from(host.len()).expect("an address has at most 39 characters");
        [&[0, length][..], &[length + 1]].map(|length| [length, host.as_bytes(), &port].concat())
    };
    let [of_old, flexible] = written(broker);
    let [own_of_old, own_flexible] = written(own);
    replaced(&replaced(answer, &of_old, &own_of_old), &flexible, &own_flexible)
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(place) = rest.windows(from.len()).position(|window| window == from) {
        replaced.extend_from_slice(&rest[..place]);
        replaced.extend_from_slice(to);
        rest = &rest[place + from.len()..];
    }
    replaced.extend_from_slice(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_asks_where_the_broker_is_is_sent_to_the_proxy() {
        let [broker, own] = ["10.200.0.2:9092", "127.0.0.1:40000"].map(|address| address.parse().unwrap());
        // A broker as Metadata writes it: its id, host and port, and that it has no rack. Version 8, and version 9 with a flexible answer.
        let cases: [(&[u8], &[u8]); 2] = [
            (b"\0\0\0\x01\0\x0a10.200.0.2\0\0\x23\x84\xff\xff", b"\0\0\0\x01\0\x09127.0.0.1\0\0\x9c\x40\xff\xff"),
            (b"\0\0\0\x01\x0b10.200.0.2\0\0\x23\x84\0\0", b"\0\0\0\x01\x0a127.0.0.1\0\0\x9c\x40\0\0"),
        ];
        for (answer, expected) in cases {
            assert_eq!(redirected(answer, broker, own), expected);
        }
        // Another port of the same host is another one.
        let other = b"\0\0\0\x01\0\x0a10.200.0.2\0\0\x23\x85\xff\xff";
        assert_eq!(redirected(other, broker, own), other);
    }

    #[test]
    fn a_request_says_at_its_beginning_what_it_is() {
        let request = [&[0_u8, 19, 0, 7, 0, 0, 1, 2][..], b"\0\x06sluice"].concat();
        assert_eq!(header(&request).unwrap(), (19, 258));
        assert_eq!(Write::with_key(19), Some(Write::CreateTopics));
        assert!(header(&request[..7]).is_err());
    }
}
