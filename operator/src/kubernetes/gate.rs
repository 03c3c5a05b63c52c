//! Connections on which a replica that does not lead sends nothing.
//!
//! The check stands before each write to a socket and not before each request, because a process can be stopped between the
//! two for longer than its lease: what was not sent by then is never sent.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{TryFutureExt, future::MapOk};
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tower::Service;

use crate::leader::{Leadership, Permit};

/// When something may be sent.
#[derive(Clone, Debug)]
pub enum Gate {
    /// Always.
    Open,
    /// While this replica leads.
    WhileLeading(Leadership),
}

impl Gate {
    /// Notes a request that may change something.
    pub fn changing(&self) -> Option<Permit> {
        match self {
            Self::Open => None,
            Self::WhileLeading(leadership) => Some(leadership.changing()),
        }
    }

    fn check(&self) -> io::Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::WhileLeading(leadership) if leadership.is_held() => Ok(()),
            Self::WhileLeading(_) => Err(io::Error::new(io::ErrorKind::PermissionDenied, "this replica does not lead")),
        }
    }
}

/// Makes gated connections.
#[derive(Clone, Debug)]
pub struct Connector<C> {
    connector: C,
    gate: Gate,
}

impl<C> Connector<C> {
    /// Gates the connections that `connector` makes.
    pub fn new(connector: C, gate: Gate) -> Self {
        Self { connector, gate }
    }
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send + 'static,
{
    type Response = Gated<C::Response>;
    type Error = C::Error;
    type Future = MapOk<C::Future, Box<dyn FnOnce(C::Response) -> Gated<C::Response> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let gate = self.gate.clone();
        self.connector.call(uri).map_ok(Box::new(move |stream| Gated { stream, gate }))
    }
}

/// A gated connection.
#[derive(Debug)]
pub struct Gated<S> {
    stream: S,
    gate: Gate,
}

impl<S: Write + Unpin> Write for Gated<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.gate.check() {
            Ok(()) => Pin::new(&mut self.stream).poll_write(context, bytes),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.gate.check() {
            Ok(()) => Pin::new(&mut self.stream).poll_write_vectored(context, slices),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: Read + Unpin> Read for Gated<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Connection> Connection for Gated<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}
