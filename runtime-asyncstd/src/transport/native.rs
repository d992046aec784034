//! TCP sockets of async-std, for the native transport.

use async_std::net::{TcpListener, TcpStream};
use futures::future::{BoxFuture, FutureExt};
use futures::io::{AsyncRead, AsyncWrite};
use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use steadfast_core::id::Address;
use steadfast_runtime::address::{ListenError, host_and_port};
use steadfast_runtime::native::{self, Links};
use steadfast_runtime::transport::refuse_itself;

thread_local! {
    /// This runtime reads into initialised memory only. Copying what has come costs less than clearing
    /// all the room that there is before each read.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 << 10]);
}

/// The sockets.
pub struct Tcp;

/// A connection.
pub struct Connection(TcpStream);

/// Takes connections. This runtime has no way to ask for one without waiting, so the wait is kept.
pub struct Listener(BoxFuture<'static, (TcpListener, io::Result<TcpStream>)>);

impl Connection {
    fn new(stream: TcpStream) -> Self {
        // Frames are gathered here: the system must not hold short ones back. A connection that is gone
        // already says so when it is read.
        let _ = stream.set_nodelay(true);
        Self(stream)
    }
}

impl Listener {
    fn new(listener: TcpListener) -> Self {
        let accept = async move {
            let result = listener.accept().await.map(|(stream, _)| stream);
            (listener, result)
        };
        Self(accept.boxed())
    }
}

impl native::Stream for Connection {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut bytes::BytesMut) -> Poll<io::Result<usize>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let room = scratch.len().min(buffer.capacity() - buffer.len());
            let count = ready!(Pin::new(&mut self.0).poll_read(cx, &mut scratch[..room]))?;
            buffer.extend_from_slice(&scratch[..count]);
            Poll::Ready(Ok(count))
        })
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, pieces)
    }
}

impl native::Network for Tcp {
    type Stream = Connection;
    type Listener = Listener;

    fn poll_accept(listener: &mut Listener, cx: &mut Context<'_>) -> Poll<io::Result<Connection>> {
        let (socket, result) = ready!(listener.0.as_mut().poll(cx));
        *listener = Listener::new(socket);
        Poll::Ready(result.map(Connection::new))
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
    Ok(Links::listening(bound, Listener::new(TcpListener::from(listener))))
}
