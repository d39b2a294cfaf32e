//! A gRPC service with tonic.
//!
//! ```console
//! $ cargo run --example tonic
//! $ grpc_health_probe -addr 127.0.0.1:8080
//! ```
//!
//! The service is gRPC's own health check, because tonic-health has it generated. For yours,
//! tonic-prost-build makes such a trait of the .proto file.

use std::time::Duration;

use prefork::{ChildContext, Shutdown};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Error, Server};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How long connections that were opened just now have for their first call once this child is to stop.
const LAST_CALL: Duration = Duration::from_secs(1);

// Windows wants `reuseport` said.
#[prefork::main(reuseport = cfg!(windows))]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> Result<(), Error> {
    let incoming = TcpIncoming::from(ln).with_nodelay(Some(true));
    // When this child is to stop, no new connection comes in. A little later tonic sends GOAWAY on the
    // open ones: clients make their next calls on others, and those under way are finished.
    //
    // A client repeats a call that GOAWAY has overtaken, for no server has seen it. tonic's own client
    // does not, and reports `Cancelled` or `Internal`: let its calls be repeated by yours. And a
    // connection that never says a word of HTTP/2 lasts until the grace period is over.
    let stop = async move {
        shutdown.await;
        tokio::time::sleep(LAST_CALL).await;
    };
    Server::builder()
        .add_service(HealthServer::new(Service { child }))
        .serve_with_incoming_shutdown(incoming, stop)
        .await
}

struct Service {
    child: ChildContext,
}

#[tonic::async_trait]
impl Health for Service {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" => {}
            "slow" => tokio::time::sleep(Duration::from_millis(1500)).await,
            other => return Err(Status::not_found(format!("no service {other:?} here"))),
        }
        Ok(Response::new(serving()))
    }

    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    /// A stream lasts as long as its client likes. This one ends when the child is to stop: GOAWAY
    /// alone leaves it open, and it would be cut when the grace period is over.
    async fn watch(
        &self,
        _request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        let shutdown = self.child.shutdown();
        tokio::spawn(async move {
            if sender.send(Ok(serving())).await.is_ok() {
                tokio::select! {
                    () = shutdown => {}
                    () = sender.closed() => {}
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

fn serving() -> HealthCheckResponse {
    HealthCheckResponse { status: ServingStatus::Serving.into() }
}
