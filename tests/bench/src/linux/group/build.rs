//! Clean builds of a small server with and without prefork, and the time in which the attribute is expanded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use tempfile::TempDir;

use super::{Context, turn};
use crate::linux::BenchResult;
use crate::linux::report::{Better, Metric, Report, Table, Unit};

const METRICS: [Metric; 5] = [
    Metric::unplotted("crates", Unit::Count, Better::Less),
    Metric::new("clean build", Unit::Seconds, Better::Less),
    Metric::unplotted("clean release build", Unit::Seconds, Better::Less),
    Metric::unplotted("build of the program alone", Unit::Seconds, Better::Less),
    Metric::unplotted("expansion of macros", Unit::Seconds, Better::Less),
];
const CRATES: usize = 0;
const CLEAN: usize = 1;
const RELEASE: usize = 2;
const PROGRAM: usize = 3;
const EXPANSION: usize = 4;

const FLOOR: &str = "tokio";

/// A program, and what it depends on.
struct Program {
    name: &'static str,
    dependencies: &'static str,
    code: &'static str,
}

const PROGRAMS: [Program; 3] = [
    Program {
        name: FLOOR,
        dependencies: "tokio = { version = \"1\", default-features = false, features = [\"net\", \"rt-multi-thread\"] }",
        code: "use tokio::net::TcpListener;\n\
               async fn serve(ln: TcpListener) -> std::io::Result<()> { loop { ln.accept().await?; } }\n\
               fn main() -> std::io::Result<()> { tokio::runtime::Runtime::new()?.block_on(async { \
               serve(TcpListener::bind(\"127.0.0.1:8080\").await?).await }) }\n",
    },
    Program {
        name: "prefork with tokio",
        dependencies: "prefork = { path = \"@\", features = [\"tokio\"] }\n\
                       tokio = { version = \"1\", default-features = false, features = [\"net\"] }",
        code: "use tokio::net::TcpListener;\n\
               #[prefork::main]\n\
               async fn serve(ln: TcpListener) -> std::io::Result<()> { loop { ln.accept().await?; } }\n",
    },
    Program {
        name: "prefork with std",
        dependencies: "prefork = { path = \"@\" }",
        code: "use std::net::TcpListener;\n\
               #[prefork::main]\n\
               fn serve(ln: TcpListener) -> std::io::Result<()> { loop { ln.accept()?; } }\n",
    },
];

pub(super) fn run(context: &Context, report: &mut Report) -> BenchResult<()> {
    let mut table = Table::new("Build of a small server".to_owned(), FLOOR, &METRICS);
    table.note(
        "Crates without the program itself. The sources were there; nothing was downloaded.".to_owned(),
    );
    let mut projects = PROGRAMS.iter().map(Project::new).collect::<BenchResult<Vec<_>>>()?;
    // A build takes minutes, and differs less than what is measured elsewhere.
    for round in 0..context.rounds(1, 1) {
        table.next_round();
        for project in turn(&mut projects, round) {
            project.measure(&mut table, !context.quick)?;
        }
    }
    report.add(table)
}

struct Project {
    program: &'static Program,
    directory: TempDir,
}

impl Project {
    fn new(program: &'static Program) -> BenchResult<Self> {
        let directory = tempfile::tempdir()?;
        let root = workspace();
        let dependencies = program.dependencies.replace('@', &root.join("prefork").display().to_string());
        let manifest = format!(
            "[package]\nname = \"hello\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n{dependencies}\n\n\
             [workspace]\n"
        );
        fs::write(directory.path().join("Cargo.toml"), manifest)?;
        // The same versions as in the workspace.
        fs::copy(root.join("Cargo.lock"), directory.path().join("Cargo.lock"))?;
        fs::create_dir(directory.path().join("src"))?;
        fs::write(directory.path().join("src/main.rs"), program.code)?;
        Ok(Self { program, directory })
    }

    fn measure(&self, table: &mut Table, release: bool) -> BenchResult<()> {
        let name = self.program.name;
        #[expect(clippy::cast_precision_loss, reason = "a number of crates")]
        table.set(name, CRATES, self.crates()? as f64);
        let _ = fs::remove_dir_all(self.directory.path().join("target"));
        table.set(name, CLEAN, self.timed(&["build", "--offline", "--quiet"])?);
        fs::write(self.directory.path().join("src/main.rs"), self.program.code)?;
        table.set(name, PROGRAM, self.timed(&["build", "--offline", "--quiet"])?);
        table.set(name, EXPANSION, self.expansion()?);
        if release {
            table.set(name, RELEASE, self.timed(&["build", "--offline", "--quiet", "--release"])?);
        }
        Ok(())
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(self.directory.path());
        command.env("CARGO_TARGET_DIR", self.directory.path().join("target"));
        command
    }

    fn timed(&self, arguments: &[&str]) -> BenchResult<f64> {
        let start = Instant::now();
        self.output(arguments)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn output(&self, arguments: &[&str]) -> BenchResult<String> {
        let output = self.cargo(arguments).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn crates(&self) -> BenchResult<usize> {
        let tree =
            self.output(&["tree", "--offline", "--prefix", "none", "--edges", "normal", "--format", "{p}"])?;
        let mut names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names.iter().filter(|name| !name.is_empty() && **name != "hello").count())
    }

    /// What the compiler tells of its own time. It tells it in nightly mode only.
    fn expansion(&self) -> BenchResult<f64> {
        let mut command = self.cargo(&[
            "rustc",
            "--offline",
            "--quiet",
            "--",
            "-Ztime-passes",
            "-Ztime-passes-format=json",
        ]);
        let output = command.env("RUSTC_BOOTSTRAP", "hello").output()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text
            .lines()
            .find(|line| line.contains("\"macro_expand_crate\""))
            .ok_or("no time of the expansion")?;
        let time = line.split("\"time\":").nth(1).and_then(|rest| rest.split([',', '}']).next());
        Ok(time.ok_or("an unknown format of times")?.trim().parse()?)
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}
