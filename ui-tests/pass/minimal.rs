#![deny(warnings)]
#![allow(dead_code)]

mod app {
    use std::net::TcpListener;

    #[prefork::main]
    fn serve(ln: TcpListener) {
        drop(ln);
    }
}

mod empty_list {
    #[prefork::main()]
    fn serve(_: std::net::TcpListener) {}
}

mod without_children {
    #[prefork::main(workers = 0)]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
