//! What is wrong inside the function is reported there, once, and as if the attribute were not.

use std::net::TcpListener;

#[prefork::main(addr = ":8080")]
fn serve(ln: TcpListener) -> std::io::Result<()> {
    let port: String = ln.local_addr()?.port();
    Ok(port)
}
