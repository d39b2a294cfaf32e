//! A layer that tells clients of a stopping child not to use their connection again.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{CONNECTION, HeaderValue};
use http::{Response, StatusCode, Version};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::child::ChildContext;

/// A [`tower`](https://docs.rs/tower) layer that adds `Connection: close` to answers while the child
/// stops. A client that keeps its connection then makes its next request on a new one, which another child
/// accepts. Without it, the close of an idle connection can cross the client's next request.
///
/// HTTP/2 has no such header, and needs none: its servers send GOAWAY. Such answers stay as they are, and so do those
/// that accept an upgrade of the connection, to a WebSocket for example.
///
/// ```
/// use prefork::{ChildContext, ConnectionCloseLayer};
/// use tower_layer::Layer;
///
/// # fn layered<S>(app: S, child: &ChildContext) {
/// // In axum: `Router::new().route(…).layer(ConnectionCloseLayer::new(child))`
/// let app = ConnectionCloseLayer::new(child).layer(app);
/// # let _ = app;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ConnectionCloseLayer {
    child: ChildContext,
}

impl ConnectionCloseLayer {
    /// A layer for the services of this child.
    #[must_use]
    pub fn new(child: &ChildContext) -> Self {
        Self { child: child.clone() }
    }
}

impl<S> Layer<S> for ConnectionCloseLayer {
    type Service = ConnectionClose<S>;

    fn layer(&self, inner: S) -> ConnectionClose<S> {
        ConnectionClose { inner, child: self.child.clone() }
    }
}

/// A service with the [`ConnectionCloseLayer`].
#[derive(Debug, Clone)]
pub struct ConnectionClose<S> {
    inner: S,
    child: ChildContext,
}

impl<S, Request, Body> Service<Request> for ConnectionClose<S>
where
    S: Service<Request, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ConnectionCloseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        ConnectionCloseFuture { answer: self.inner.call(request), child: self.child.clone() }
    }
}

pin_project! {
    /// The answer of a [`ConnectionClose`].
    #[derive(Debug)]
    pub struct ConnectionCloseFuture<F> {
        #[pin]
        answer: F,
        child: ChildContext,
    }
}

impl<F, Body, Error> Future for ConnectionCloseFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut answer = ready!(this.answer.poll(context));
        if let Ok(response) = &mut answer {
            // After 101 the connection has another protocol; the client needs the answer's `Connection: Upgrade`.
            let is_last = response.status() != StatusCode::SWITCHING_PROTOCOLS;
            if is_last && this.child.is_stopping() && response.version() <= Version::HTTP_11 {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Poll::Ready(answer)
    }
}
