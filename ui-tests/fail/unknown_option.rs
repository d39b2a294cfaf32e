use std::net::TcpListener;

#[prefork::main(
    reuse_port,
    threads = 4,
    RecoverThreshold = 3,
    netwrok = "tcp4",
    port = 8080,
    recover = 5,
)]
fn serve(_: TcpListener) {}
