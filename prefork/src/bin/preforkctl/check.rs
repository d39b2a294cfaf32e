//! Whether a program would start.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Failure;

/// Becomes the program, which checks itself, says what it finds, and exits with 0 or 2. Returns only if that fails.
pub(crate) fn run(mut command: Command) -> Failure {
    let program = PathBuf::from(command.get_program());
    let error = command.env("PREFORK_CHECK", "1").exec();
    Failure::NotDone(format!("cannot execute {}: {error}", program.display()))
}

/// A program with its arguments, in this environment.
pub(crate) fn of_program(program: &[OsString]) -> Option<Command> {
    let (program, arguments) = program.split_first()?;
    let mut command = Command::new(program);
    command.args(arguments);
    Some(command)
}

/// What the master would be after an upgrade: its file as it is now, with its arguments, environment and directory.
pub(crate) fn of_master(pid: u32) -> Result<Command, Failure> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read(&path).map_err(|error| unreadable(&path, &error))
    };
    let link = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_link(&path).map_err(|error| unreadable(&path, &error))
    };
    let mut command = Command::new(without_mark(link("exe")?));
    let arguments = parts(&read("cmdline")?);
    command.args(arguments.iter().skip(1)).current_dir(link("cwd")?).env_clear();
    for variable in parts(&read("environ")?) {
        let bytes = variable.into_vec();
        if let Some(end) = bytes.iter().position(|byte| *byte == b'=') {
            let (name, value) = (bytes[..end].to_vec(), bytes[end + 1..].to_vec());
            command.env(OsString::from_vec(name), OsString::from_vec(value));
        }
    }
    Ok(command)
}

/// A file that was replaced since the master was started has this mark.
fn without_mark(path: PathBuf) -> PathBuf {
    let bytes = path.into_os_string().into_vec();
    let length = bytes.strip_suffix(b" (deleted)").map_or(bytes.len(), <[u8]>::len);
    OsString::from_vec(bytes[..length].to_vec()).into()
}

/// Strings that end with NUL each.
fn parts(bytes: &[u8]) -> Vec<OsString> {
    let Some(bytes) = bytes.strip_suffix(b"\0") else { return Vec::new() };
    bytes.split(|byte| *byte == 0).map(|part| OsString::from_vec(part.to_vec())).collect()
}

fn unreadable(path: &str, error: &io::Error) -> Failure {
    Failure::NotDone(format!("cannot read {path}: {error}; name the program: preforkctl check PROGRAM"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_of_a_process_is_found_with_its_environment() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let command = of_master(std::process::id()).unwrap();
        assert_eq!(PathBuf::from(command.get_program()), std::env::current_exe().unwrap());
        let arguments: Vec<OsString> = command.get_args().map(ToOwned::to_owned).collect();
        assert_eq!(arguments, std::env::args_os().skip(1).collect::<Vec<_>>());
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1;
        assert_eq!(path, std::env::var_os("PATH").as_deref());
    }

    #[test]
    fn empty_arguments_are_kept() {
        assert_eq!(parts(b"app\0--name\0\0-x\0"), ["app", "--name", "", "-x"]);
        assert!(parts(b"").is_empty());
    }

    #[test]
    fn file_that_was_replaced_is_the_one_at_its_path() {
        assert_eq!(without_mark("/bin/app (deleted)".into()), PathBuf::from("/bin/app"));
        assert_eq!(without_mark("/bin/app".into()), PathBuf::from("/bin/app"));
    }
}
