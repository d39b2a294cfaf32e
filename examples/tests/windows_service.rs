//! The example of a Windows service, under a service control manager.
#![cfg(windows)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic in a test helper fails the test"
)]

use std::env;
use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use prefork_tests::{client, proc, wait};
use windows_service::service::{
    Service, ServiceAccess, ServiceErrorControl, ServiceExitCode, ServiceInfo, ServiceStartType,
    ServiceState, ServiceStatus, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::System::Services::{ControlService, SERVICE_CONTROL_PARAMCHANGE, SERVICE_STATUS};

/// A service that is removed when it is dropped.
struct TestService {
    service: Service,
    directory: tempfile::TempDir,
}

/// The service control manager, if this user may create services.
fn manager() -> Option<ServiceManager> {
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager = ServiceManager::local_computer(None::<&str>, access);
    if let Err(error) = &manager {
        eprintln!("skipped: cannot create services: {error:?}");
    }
    manager.ok()
}

/// One test at a time: in wine, handles of the manager become invalid when two threads use them.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn example() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("examples").join("windows_service.exe")
}

impl TestService {
    fn create(manager: &ServiceManager, name: &str, addr: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // A name that no other run has, not even one that was killed.
        let name: OsString = [name.as_ref(), directory.path().file_name().unwrap()].join("-".as_ref());
        let info = ServiceInfo {
            display_name: name.clone(),
            name,
            service_type: ServiceType::OWN_PROCESS,
            start_type: ServiceStartType::OnDemand,
            error_control: ServiceErrorControl::Normal,
            executable_path: example(),
            launch_arguments: vec![directory.path().join("log").into(), addr.into()],
            dependencies: Vec::new(),
            account_name: None,
            account_password: None,
        };
        let service = manager.create_service(&info, ServiceAccess::ALL_ACCESS).unwrap();
        Self { service, directory }
    }

    /// `sc.exe control NAME paramchange`.
    fn request_reload(&self) {
        let mut status = SERVICE_STATUS::default();
        let handle = self.service.raw_handle();
        // SAFETY: the handle is open, and the structure is of the right type.
        let done = unsafe { ControlService(handle, SERVICE_CONTROL_PARAMCHANGE, &raw mut status) };
        assert_ne!(done, 0, "{}", std::io::Error::last_os_error());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn wait_for_log(&self, text: &str) -> String {
        wait::for_value_or(
            || format!("{text:?} in the log: {}", self.log()),
            || self.log().lines().find(|line| line.contains(text)).map(str::to_owned),
        )
    }

    fn wait_for_state(&self, state: ServiceState) -> ServiceStatus {
        let status = || self.service.query_status().unwrap();
        wait::for_value_or(
            || format!("{state:?}: {:?}; log: {}", status(), self.log()),
            || Some(status()).filter(|status| status.current_state == state),
        )
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        let _ = self.service.stop();
        let stopped = |service: &Service| {
            service.query_status().is_ok_and(|status| status.current_state == ServiceState::Stopped)
        };
        // Deleted as soon as it has stopped.
        let _ = self.service.delete();
        if !thread::panicking() {
            wait::until("end of the service", || stopped(&self.service));
        }
    }
}

fn addr_of(line: &str) -> SocketAddr {
    let addr = line.split_once("listening on ").unwrap().1;
    addr.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn service_reports_its_states_reloads_and_stops() {
    let _turn = alone();
    let Some(manager) = manager() else { return };
    let service = TestService::create(&manager, "prefork-test", "127.0.0.1:0");
    service.service.start::<&str>(&[]).unwrap();
    let running = service.wait_for_state(ServiceState::Running);
    let master = running.process_id.unwrap();
    let addr = addr_of(&service.wait_for_log("listening on "));
    let children = proc::children(master);
    assert!(!children.is_empty());
    let pid = || client::try_get(addr, "/").ok()?.rsplit(' ').next()?.parse::<u32>().ok();
    assert!(pid().is_some_and(|pid| children.contains(&pid)), "{children:?}");

    service.request_reload();
    service.wait_for_log("reloaded:");
    // An old child accepts until it has learnt of its stop.
    wait::until("answer of a new child", || pid().is_some_and(|pid| !children.contains(&pid)));

    let stopping = service.service.stop().unwrap();
    assert_ne!(stopping.current_state, ServiceState::Running);
    let stopped = service.wait_for_state(ServiceState::Stopped);
    assert_eq!(stopped.exit_code, ServiceExitCode::NO_ERROR);
    wait::until("end of every process", || proc::children(master).is_empty() && !proc::is_alive(master));
    assert!(client::is_refused(addr));
    assert!(!service.log().contains("killing"), "{}", service.log());
}

#[test]
fn service_that_cannot_start_reports_an_error() {
    let _turn = alone();
    let Some(manager) = manager() else { return };
    let service = TestService::create(&manager, "prefork-failing-test", "nonsense");
    service.service.start::<&str>(&[]).unwrap();
    let stopped = service.wait_for_state(ServiceState::Stopped);
    assert_eq!(stopped.exit_code, ServiceExitCode::ServiceSpecific(1));
    service.wait_for_log("nonsense");
}
