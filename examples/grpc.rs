//! A gRPC service of its own .proto file, with tonic. `build.rs` generates the code, without `protoc`.
//!
//! ```console
//! $ cargo run --example grpc
//! $ grpcurl -plaintext -import-path examples/proto -proto counter.proto -d '{"numbers": [1, 2]}' \
//!       127.0.0.1:8080 counter.v1.Counter/Add
//! ```
//!
//! What a client has to do when a process stops is in `tonic.rs`.

use std::future::pending;
use std::process;
use std::time::Duration;

use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};
use tonic::{Request, Response, Status};

use self::pb::counter_server::{Counter, CounterServer};
use self::pb::{AddRequest, AddResponse, CountRequest, CountResponse};

#[allow(unreachable_pub, unused_qualifications, reason = "generated code")]
mod pb {
    tonic::include_proto!("counter.v1");
}

#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> Result<(), Error> {
    let incoming = TcpIncoming::from(ln).with_nodelay(Some(true));
    // When this child is asked to stop, tonic sends GOAWAY, finishes the calls in progress, and returns.
    Server::builder()
        .add_service(CounterServer::new(Service { child }))
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

struct Service {
    child: ChildContext,
}

type Numbers = Sender<Result<CountResponse, Status>>;

#[tonic::async_trait]
impl Counter for Service {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let AddRequest { numbers, delay_ms } = request.into_inner();
        let sum = numbers.iter().try_fold(0_i64, |sum, number| sum.checked_add(*number));
        let sum = sum.ok_or_else(|| Status::out_of_range("the sum is too large"))?;
        tokio::time::sleep(Duration::from_millis(delay_ms.into())).await;
        Ok(Response::new(AddResponse { sum, pid: process::id() }))
    }

    type CountStream = ReceiverStream<Result<CountResponse, Status>>;

    async fn count(&self, request: Request<CountRequest>) -> Result<Response<Self::CountStream>, Status> {
        let request = request.into_inner();
        let (sender, receiver) = mpsc::channel(16);
        let shutdown = self.child.shutdown();
        let is_subscription = request.limit == 0;
        tokio::spawn(async move {
            // A stream with a limit is a call in progress, and goes on to its end. A subscription has none: it
            // ends here, without an error, and the client subscribes again, at another process.
            let stop = async { if is_subscription { shutdown.await } else { pending().await } };
            tokio::select! {
                () = stop => {}
                () = send_numbers(&sender, &request) => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// Returns after the last number, or when the client is gone.
async fn send_numbers(sender: &Numbers, request: &CountRequest) {
    let last = match request.limit {
        0 => u64::MAX,
        limit => request.after.saturating_add(limit),
    };
    let mut interval = tokio::time::interval(Duration::from_millis(request.interval_ms.max(1).into()));
    for number in request.after.saturating_add(1)..=last {
        interval.tick().await;
        if sender.send(Ok(CountResponse { number, pid: process::id() })).await.is_err() {
            return;
        }
    }
}
