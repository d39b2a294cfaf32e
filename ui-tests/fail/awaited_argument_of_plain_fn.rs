struct Pool;

impl prefork::AsyncFromChild for Pool {
    type Error = std::io::Error;

    async fn from_child(_: &prefork::ChildContext) -> Result<Self, Self::Error> {
        Ok(Self)
    }
}

#[prefork::main]
fn serve(_: std::net::TcpListener, _: Pool) {}
