//! Gives a user a right: Kafka's `CreateAcls` request, version 1, written by hand, because the tool that sends it takes seconds.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::secured::{Acl, Resource};

const PATIENCE: Duration = Duration::from_mins(1);

/// Sends it to a listener that takes anybody.
pub(crate) fn create(broker: SocketAddrV4, user: &str, acl: Acl<'_>) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(broker), PATIENCE).context("connect to Kafka")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&request(user, acl))?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length))?];
    stream.read_exact(&mut answer)?;
    // The request's number, the throttle time, the count of results; then the first result's code.
    let code = answer.get(12..14).context("Kafka's answer is too short")?;
    ensure!(code == [0, 0], "Kafka refused to create {acl:?}: code {code:?}");
    Ok(())
}

fn request(user: &str, acl: Acl<'_>) -> Vec<u8> {
    const CREATE_ACLS: i16 = 30;
    const PREFIXED: u8 = 4;
    const ALLOW: u8 = 3;
    let (kind, prefix) = match acl.resource {
        Resource::Topics(prefix) => (2, prefix),
        Resource::Groups(prefix) => (3, prefix),
        Resource::TransactionalIds(prefix) => (5, prefix),
    };
    let mut body = Vec::new();
    body.extend(CREATE_ACLS.to_be_bytes());
    body.extend(1_i16.to_be_bytes());
    body.extend(7_i32.to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.push(kind);
    put(&mut body, prefix);
    body.push(PREFIXED);
    put(&mut body, &format!("User:{user}"));
    put(&mut body, "*");
    body.extend([acl.operation as u8, ALLOW]);
    let mut request = u32::try_from(body.len()).expect("names are short").to_be_bytes().to_vec();
    request.extend(body);
    request
}

fn put(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).expect("names are short").to_be_bytes());
    body.extend(text.as_bytes());
}
