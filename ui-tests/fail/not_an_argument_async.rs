struct Config;

#[prefork::main]
async fn serve(_: tokio::net::TcpListener, _: Config, _: &str) {}
