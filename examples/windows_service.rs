//! A Windows service: the master reports its state to the service control manager, and the manager stops it.
//!
//! In the shell of an administrator:
//!
//! ```console
//! > sc.exe create prefork-example binPath= "C:\app\windows_service.exe C:\app\service.log" start= auto
//! > sc.exe failure prefork-example reset= 3600 actions= restart/1000
//! > sc.exe failureflag prefork-example 1
//! > sc.exe start prefork-example
//! > curl.exe http://127.0.0.1:8080/
//! > sc.exe control prefork-example paramchange
//! > sc.exe stop prefork-example
//! ```
//!
//! `failure` and `failureflag` have the service started again when the fleet ends with an error. `paramchange` is a
//! reload. From a console, the program is an ordinary server that Ctrl-C stops.

fn main() -> std::process::ExitCode {
    #[cfg(windows)]
    return service::main();
    #[cfg(not(windows))]
    {
        eprintln!(
            "this example is a Windows service; examples/deploy has the files for systemd and Kubernetes"
        );
        std::process::ExitCode::FAILURE
    }
}

#[cfg(windows)]
mod service {
    use std::error::Error;
    use std::ffi::OsString;
    use std::fs::File;
    use std::io;
    use std::process::{self, ExitCode};
    use std::sync::{Mutex, OnceLock};
    use std::time::Duration;
    use std::{env, iter};

    use axum::Router;
    use axum::routing::get;
    use prefork::{ChildContext, ConnectionCloseLayer, Prefork, Shutdown};
    use tokio::net::TcpListener;
    use windows_service::service::{
        ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType,
    };
    use windows_service::service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle};
    use windows_service::{define_windows_service, service_dispatcher};

    /// The manager ignores it: the name that the service was created with counts.
    const NAME: &str = "prefork-example";
    /// How long the service may take to start, as the option `start_timeout`.
    const START: Duration = Duration::from_secs(60);
    /// How long a child may take to finish its work.
    const GRACE: Duration = Duration::from_secs(20);
    /// `ERROR_FAILED_SERVICE_CONTROLLER_CONNECT`: the manager has not started this process.
    const NO_SERVICE: i32 = 1063;

    pub(super) fn main() -> ExitCode {
        // This code runs in the master and in every child.
        let result = log_to_file().map_err(Into::into).and_then(|()| {
            if prefork::is_child() {
                // Children are plain processes, of which the manager knows nothing.
                return Ok(fleet().run()?);
            }
            match service_dispatcher::start(NAME, service_entry) {
                Err(windows_service::Error::Winapi(error)) if error.raw_os_error() == Some(NO_SERVICE) => {
                    Ok(fleet().run()?)
                }
                result => Ok(result?),
            }
        });
        result.map_or_else(|error: Box<dyn Error>| fail(&*error), |()| ExitCode::SUCCESS)
    }

    /// A service has no standard error. The path of the log is the first argument; the children have the same
    /// arguments, and append to the same file.
    fn log_to_file() -> io::Result<()> {
        let Some(path) = env::args_os().nth(1) else { return Ok(()) };
        let file = File::options().create(true).append(true).open(path)?;
        tracing_subscriber::fmt().with_writer(Mutex::new(file)).with_ansi(false).init();
        Ok(())
    }

    fn fleet() -> Prefork {
        let fleet = Prefork::new(serve).shutdown_grace(GRACE);
        match env::args().nth(2) {
            Some(addr) => fleet.addr(addr),
            None => fleet,
        }
    }

    define_windows_service!(service_entry, service_main);

    /// Runs the master, in a thread that the manager's dispatcher starts.
    fn service_main(_arguments: Vec<OsString>) {
        let fleet = fleet();
        let handle = fleet.handle();
        let control = move |control| {
            match control {
                ServiceControl::Stop | ServiceControl::Preshutdown => {
                    report(ServiceState::StopPending, 0);
                    handle.stop();
                }
                ServiceControl::ParamChange => handle.reload(),
                ServiceControl::Interrogate => {}
                _ => return ServiceControlHandlerResult::NotImplemented,
            }
            ServiceControlHandlerResult::NoError
        };
        match service_control_handler::register(NAME, control) {
            Ok(status) => STATUS.set(status).unwrap_or_default(),
            Err(error) => {
                fail(&error);
                return;
            }
        }
        report(ServiceState::StartPending, 0);
        let result = fleet.on_master_ready(|_: &[u32]| report(ServiceState::Running, 0)).run();
        if let Err(error) = &result {
            fail(error);
        }
        // The process may end as soon as the manager knows.
        report(ServiceState::Stopped, result.is_err().into());
    }

    static STATUS: OnceLock<ServiceStatusHandle> = OnceLock::new();

    fn report(state: ServiceState, error: u32) {
        let wait_hint = match state {
            ServiceState::StartPending => START,
            // A moment more than the children have.
            ServiceState::StopPending => GRACE + Duration::from_secs(5),
            _ => Duration::ZERO,
        };
        let controls_accepted = match state {
            ServiceState::Stopped => ServiceControlAccept::empty(),
            // Before the fleet serves, the handle keeps a request until then.
            _ => {
                ServiceControlAccept::STOP
                    | ServiceControlAccept::PRESHUTDOWN
                    | ServiceControlAccept::PARAM_CHANGE
            }
        };
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted,
            exit_code: if error == 0 {
                ServiceExitCode::NO_ERROR
            } else {
                ServiceExitCode::ServiceSpecific(error)
            },
            checkpoint: 0,
            wait_hint,
            process_id: None,
        };
        if let Some(Err(error)) = STATUS.get().map(|handle| handle.set_service_status(status)) {
            tracing::error!("cannot report {state:?}: {error}");
        }
    }

    /// Logs an error with what caused it.
    fn fail(error: &dyn Error) -> ExitCode {
        let chain = iter::successors(Some(error), |error| (*error).source());
        tracing::error!("{}", chain.map(ToString::to_string).collect::<Vec<_>>().join(": "));
        ExitCode::FAILURE
    }

    async fn serve(ln: TcpListener, shutdown: Shutdown, child: ChildContext) -> io::Result<()> {
        let app = Router::new()
            .route("/", get(|| async { format!("hello from process {}\n", process::id()) }))
            .layer(ConnectionCloseLayer::new(&child));
        axum::serve(ln, app).with_graceful_shutdown(shutdown).await
    }
}
