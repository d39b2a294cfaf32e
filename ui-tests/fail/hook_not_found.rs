#[prefork::main(on_child_spawn = count_children)]
fn serve(_: std::net::TcpListener) {}
