//! Generates the code of `proto/*.proto` for `grpc.rs`.

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let proto = Path::new("proto/counter.proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    // protox is a protobuf compiler in Rust: no `protoc` has to be installed.
    let parsed = protox::compile([proto], ["proto"])?;
    tonic_prost_build::configure().compile_fds(parsed)?;
    Ok(())
}
