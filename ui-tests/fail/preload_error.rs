use prefork::Preloaded;
use std::net::TcpListener;

struct NoError;

fn load() -> Result<u32, NoError> {
    Err(NoError)
}

#[prefork::main(preload = load)]
fn serve(_: TcpListener, _: Preloaded<u32>) {}
