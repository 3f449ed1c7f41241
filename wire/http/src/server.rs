//! The thread with the Tokio runtime on it: bind first, so that an address in use is an error of the start.

use std::fmt;
use std::future::IntoFuture;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::admission::Admission;
use crate::limits::STOP_GRACE;
use crate::routes::{AdminSource, router};

/// The admin listener could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpError {
    /// The address cannot be listened on.
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The thread or its runtime could not be created.
    Start(io::Error),
}

impl fmt::Display for HttpError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, source } => {
                write!(formatter, "cannot listen for HTTP on {address}: {source}")
            }
            Self::Start(source) => write!(formatter, "cannot start the HTTP thread: {source}"),
        }
    }
}

impl std::error::Error for HttpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } | Self::Start(source) => Some(source),
        }
    }
}

/// A running admin listener. Dropping it stops it as [`HttpServer::stop`] does.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens on `address` (port 0: any free one) and answers from `source` until stopped. From an ordinary thread.
    ///
    /// # Errors
    /// [`HttpError`] if the address is taken or the thread cannot be made; nothing is left running.
    pub fn start(address: SocketAddr, source: impl AdminSource) -> Result<Self, HttpError> {
        let bind = |source| HttpError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let bound = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(HttpError::Start)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("pyralog-http".into())
            .spawn(move || {
                if let Err(error) = runtime.block_on(serve(listener, source, stopped)) {
                    tracing::error!(%error, "the HTTP listener ended");
                }
                // Connections that outlived the grace are cut here instead of being waited for.
                runtime.shutdown_background();
            })
            .map_err(HttpError::Start)?;
        Ok(Self { address: bound, stop: Some(stop), thread: Some(thread) })
    }

    /// The address listened on, with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening, gives answers under way [`STOP_GRACE`], and joins the thread.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread has ended already if nobody receives: then there is nothing to stop.
            stop.send(()).ok();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the HTTP thread panicked");
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn serve(
    listener: TcpListener,
    source: impl AdminSource,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = Admission::new(tokio::net::TcpListener::from_std(listener)?);
    let (drain, draining) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router(Arc::new(source))).with_graceful_shutdown(async {
        // A dropped sender means stop as well; and if nobody waits for the drain, the loop below has ended.
        stopped.await.ok();
        drain.send(()).ok();
    });
    let serving = tokio::spawn(serving.into_future());
    // An error here says that serving ended by itself: its outcome follows at once.
    draining.await.ok();
    match tokio::time::timeout(STOP_GRACE, serving).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(panic)) => Err(io::Error::other(panic)),
        Err(_elapsed) => Ok(()),
    }
}
