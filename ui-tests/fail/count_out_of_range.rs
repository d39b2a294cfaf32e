mod too_small {
    #[prefork::main(workers = -1, recover = -1, backlog = 0)]
    fn serve(_: std::net::TcpListener) {}
}

mod size {
    #[prefork::main(max_rss = 0, reload_parallel = 0, max_workers = 0)]
    fn serve(_: std::net::TcpListener) {}
}

mod not_a_size {
    #[prefork::main(max_rss = "much")]
    fn serve(_: std::net::TcpListener) {}
}

mod too_large {
    #[prefork::main(workers = 8193, recover = 4_294_967_296, backlog = 0x8000_0000u32)]
    fn serve(_: std::net::TcpListener) {}
}

mod beyond_all_integers {
    #[prefork::main(workers = 99999999999999999999999999999999999999999)]
    fn serve(_: std::net::TcpListener) {}
}

fn main() {}
