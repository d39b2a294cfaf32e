mod not_a_path {
    #[prefork::main(crate = find_it())]
    fn serve(_: std::net::TcpListener) {}
}

mod not_there {
    #[prefork::main(crate = crate::nowhere, network = "tcp4")]
    fn serve(_: std::net::TcpListener, _: prefork::Shutdown) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {}
