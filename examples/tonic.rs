//! A gRPC service with tonic.
//!
//! ```console
//! $ cargo run --example tonic
//! $ grpc_health_probe -addr 127.0.0.1:8080
//! ```
//!
//! The service is the health check of gRPC, whose generated code is in tonic-health. For other services
//! tonic-prost-build generates such a trait from the .proto file.

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

#[prefork::main]
async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> Result<(), Error> {
    let incoming = TcpIncoming::from(ln).with_nodelay(Some(true));
    // When this child is asked to stop, tonic sends GOAWAY on the open connections: clients make their next
    // calls on new connections, and calls in progress are finished.
    //
    // A call that crosses GOAWAY was not processed, and most clients repeat it. tonic's client does not; it
    // returns `Cancelled` or `Internal`, and the application should repeat the call. A connection without
    // any HTTP/2 traffic stays open until the end of the grace period.
    Server::builder()
        .add_service(HealthServer::new(Service { child }))
        .serve_with_incoming_shutdown(incoming, shutdown)
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

    /// The stream ends at the stop request. GOAWAY alone leaves it open, and it would be interrupted at the
    /// end of the grace period.
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
