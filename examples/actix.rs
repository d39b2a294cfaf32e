//! An actix-web application. actix brings a runtime, threads and signal handling of its own, so the
//! serve function is a plain one.
//!
//! ```console
//! $ cargo run --example actix
//! $ curl http://127.0.0.1:8080/
//! ```

use std::io;
use std::net::TcpListener;
use std::process;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::{Next, from_fn};
use actix_web::rt::{self, System};
use actix_web::{App, Error, HttpServer, web};
use prefork::ChildContext;

/// How long a connection may wait for a request. actix closes no idle connection before that, so it has
/// to fit into `shutdown_grace`, 5 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

// It does not take `Shutdown`, for nothing has to be done: once this child is to stop, no new connection
// comes in (on Windows some do, until no client is left), and the process ends when the last one is closed.
// `ServerHandle::stop` would drop what was accepted just before, and at times even requests under way: its
// threads may end in the wrong order.
// Windows wants `reuseport` said.
#[prefork::main(reuseport = cfg!(windows))]
fn serve(ln: TcpListener, child: ChildContext) -> io::Result<()> {
    System::new().block_on(async move {
        let child = web::Data::new(child);
        let app = move || {
            App::new()
                .app_data(child.clone())
                .wrap(from_fn(announce_close))
                .route("/", web::get().to(hello))
                .route("/slow", web::get().to(slow))
        };
        // The fleet's processes are the parallelism, and signals are the master's business.
        HttpServer::new(app)
            .workers(1)
            .disable_signals()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(KEEP_ALIVE)
            .listen(ln)?
            .run()
            .await
    })
}

/// Tells clients that keep their connection not to use it again. One that was closed without a word
/// could meet their next request, which would be lost.
async fn announce_close(
    child: web::Data<ChildContext>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    if child.is_stopping() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

async fn hello() -> String {
    format!("hello from process {}\n", process::id())
}

async fn slow() -> String {
    rt::time::sleep(Duration::from_millis(1500)).await;
    hello().await
}
