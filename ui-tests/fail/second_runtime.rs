#[prefork::main(addr = ":8080")]
#[tokio::main]
async fn main(_: tokio::net::TcpListener) {}
