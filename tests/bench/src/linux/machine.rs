//! The machine and the tools, for the head of a report.

use std::fs;
use std::process::Command;

/// Name and value of what a reader has to know of the machine.
pub(crate) fn describe() -> Vec<(&'static str, String)> {
    vec![
        ("date", first_line("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        ("processor", processor()),
        ("cores", cores().to_string()),
        ("memory", memory()),
        ("kernel", first_line("uname", &["-sr"])),
        ("virtual machine", if is_virtual() { "yes" } else { "not known to be one" }.to_owned()),
        ("compiler", first_line("rustc", &["--version"])),
        ("load before the run", load()),
    ]
}

/// The cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map(|(_, model)| model.trim().to_owned());
    model.unwrap_or_else(|| first_line("uname", &["-m"]))
}

fn is_virtual() -> bool {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"))
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kilobytes: u64 =
        total.and_then(|total| total.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    format!("{} MB", kilobytes / 1000)
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// The first line that a program prints, on either output; empty if it cannot be run.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return String::new() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

/// The path of a program in `PATH`.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    let directories = std::env::var_os("PATH")?;
    // Servers are often where only administrators look.
    let all = std::env::split_paths(&directories).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    all.map(|directory| directory.join(program)).find(|path| path.is_file())
}
