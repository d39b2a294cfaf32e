//! After a mistake in the attribute the function is still there, for editors and for its callers.

use std::net::TcpListener;

#[prefork::main(wrokers = 4)]
fn serve(ln: TcpListener) {
    helper(ln);
}

fn helper(ln: TcpListener) {
    serve(ln);
}
