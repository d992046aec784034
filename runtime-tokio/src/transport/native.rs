//! TCP sockets of tokio, for the native transport.

use futures::future::{BoxFuture, FutureExt};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use steadfast_core::id::Address;
use steadfast_runtime::address::{ListenError, host_and_port};
use steadfast_runtime::native::{self, Links};
use steadfast_runtime::transport::refuse_itself;
use tokio::io::AsyncWrite;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::io::poll_read_buf;

/// The sockets.
pub struct Tcp;

/// A connection.
pub struct Connection(TcpStream);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        // Frames are gathered here: the system must not hold short ones back. A connection that is gone
        // already says so when it is read.
        let _ = stream.set_nodelay(true);
        Self(stream)
    }
}

impl native::Stream for Connection {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut bytes::BytesMut) -> Poll<io::Result<usize>> {
        poll_read_buf(Pin::new(&mut self.0), cx, buffer)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }
}

impl native::Network for Tcp {
    type Stream = Connection;
    type Listener = TcpListener;

    fn poll_accept(listener: &mut TcpListener, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let (stream, _) = ready!(listener.poll_accept(cx))?;
        Poll::Ready(Ok(Connection::new(stream)))
    }

    fn connect(address: Address) -> BoxFuture<'static, io::Result<Connection>> {
        async move {
            let target = host_and_port(&address).map_err(io::Error::other)?;
            Ok(Connection::new(refuse_itself(TcpStream::connect(target).await?)?))
        }
        .boxed()
    }
}

/// Links of a node that listens at this address. Port 0 lets the system choose.
///
/// # Errors
/// When the address cannot be bound, with the cause and what to do.
pub fn listen(address: &Address) -> Result<Links<Tcp>, ListenError> {
    let (listener, bound) = native::listen(address)?;
    let listener = TcpListener::from_std(listener).map_err(|error| ListenError::system(address, &error))?;
    Ok(Links::listening(bound, listener))
}
