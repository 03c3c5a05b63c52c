//! How requests get to a collector by HTTP. The SDK's own client takes no certificates, and of a request without an answer the SDK does not
//! tell why there was none.

use std::{
    panic::resume_unwind,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::blocking;

use super::tls::{Pem, Unusable, bottom};

/// Sends requests one by one, from threads where tokio does not run.
#[derive(Debug)]
pub(super) struct Client {
    client: blocking::Client,
    silence: Silence,
}

/// Why the last request had no answer. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Silence(Arc<Mutex<Option<String>>>);

impl Client {
    /// One that waits so long for an answer, can be made anywhere, and says in `silence` why it got none.
    pub(super) fn new(timeout: Duration, pem: &Pem, silence: Silence) -> Result<Self, Unusable> {
        // It cannot be made where tokio runs, as at the start of a program.
        let made = thread::scope(|scope| {
            let making = thread::Builder::new().spawn_scoped(scope, || make(timeout, pem));
            making.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let client = made.map_err(|error| Unusable(format!("no thread for an HTTP client: {error}")))??;
        Ok(Self { client, silence })
    }
}

impl Silence {
    /// The reason, once.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn set(&self, reason: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let answer = self.client.send_bytes(request).await;
        // The error itself names the address, which may hold a password.
        let reason = answer.as_ref().err().and_then(|error| error.source().map(bottom));
        self.silence.set(reason);
        answer
    }
}

fn make(timeout: Duration, pem: &Pem) -> Result<blocking::Client, Unusable> {
    let builder = pem.for_http(blocking::Client::builder().timeout(timeout))?;
    builder.build().map_err(|error| pem.unusable(&bottom(&error)))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    use futures::executor::block_on;

    use super::*;

    fn request(listener: &TcpListener) -> Request<Bytes> {
        let address = listener.local_addr().unwrap();
        Request::post(format!("http://{address}/v1/traces")).body(Bytes::from_static(b"spans")).unwrap()
    }

    #[test]
    fn of_a_request_without_an_answer_the_reason_is_kept_until_the_next_one() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silence = Silence::default();
        let client = Client::new(Duration::from_secs(10), &Pem::default(), silence.clone()).unwrap();
        let answered = request(&listener);
        let refused = request(&listener);
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut read, mut part) = (Vec::new(), [0; 1024]);
                while !read.ends_with(b"spans") {
                    let count = stream.read(&mut part).unwrap();
                    assert!(count > 0, "{read:?}");
                    read.extend_from_slice(&part[..count]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            });
            assert_eq!(block_on(client.send_bytes(answered)).unwrap().status(), 200);
        });
        assert_eq!(silence.take(), None);
        drop(listener);
        assert!(block_on(client.send_bytes(refused)).is_err());
        assert_eq!(silence.take().as_deref(), Some("Connection refused (os error 111)"));
        assert_eq!(silence.take(), None);
    }

    #[tokio::test]
    async fn a_client_can_be_made_where_tokio_runs() {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        assert!(Client::new(Duration::from_secs(1), &Pem::default(), Silence::default()).is_ok());
    }
}
