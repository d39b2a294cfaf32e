//! fasthttp's prefork, built from Debian's sources.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use tempfile::TempDir;

use super::{Abilities, Contender};
use crate::linux::BenchResult;
use crate::linux::machine::{find, first_line};

/// Where Debian puts the sources of packages.
const SOURCES: &str = "/usr/share/gocode";
const PACKAGE: &str = "golang-github-valyala-fasthttp-dev";

const PROGRAM: &str = r#"package main

import (
	"bytes"
	"os"
	"strconv"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/prefork"
)

func main() {
	small, large := bytes.Repeat([]byte("x"), 1024), bytes.Repeat([]byte("x"), 100*1024)
	pid := strconv.Itoa(os.Getpid())
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
		switch string(ctx.Path()) {
		case "/100k":
			ctx.SetBody(large)
		case "/pid":
			ctx.SetBodyString(pid)
		default:
			ctx.SetBody(small)
		}
	}}
	fleet := prefork.New(server)
	fleet.RecoverThreshold = 1000000
	fleet.Reuseport = os.Args[2] == "reuseport"
	var err error
	if os.Args[3] == "tls" {
		err = fleet.ListenAndServeTLS(os.Args[1], os.Args[5], os.Args[4])
	} else {
		err = fleet.ListenAndServe(os.Args[1])
	}
	panic(err)
}
"#;

const ABILITIES: Abilities = Abilities {
    tells: false,
    has_workers: true,
    tls: true,
    many_connections: true,
    reload: None,
    upgrade: None,
    // Without a handler of signals in the program it just ends.
    stop: None,
};

pub(super) fn all() -> BenchResult<Vec<Contender>> {
    if find("go").is_none() {
        return Err("fasthttp: no Go compiler (Debian: golang-go)".into());
    }
    if !Path::new(SOURCES).join("src/github.com/valyala/fasthttp/prefork").exists() {
        return Err(format!("fasthttp: its sources are not installed (Debian: {PACKAGE})").into());
    }
    // Built at the first start: a list of contenders needs no build.
    let built = Rc::new(OnceCell::new());
    let package = first_line("dpkg-query", &["-W", "-f=${Version}", PACKAGE]);
    let go = first_line("go", &["env", "GOVERSION"]);
    let contender = |name, sharing: &'static str| {
        let built = Rc::clone(&built);
        let command = move |setup: &super::Setup<'_>| {
            let mut command = Command::new(program(&built)?);
            command.args([
                setup.addr.to_string().as_str(),
                sharing,
                if setup.size.tls { "tls" } else { "plain" },
            ]);
            command.args([setup.files.cert(), setup.files.key()]);
            // It starts as many children as Go has processors.
            command.env("GOMAXPROCS", setup.size.workers.to_string());
            Ok(command)
        };
        let version = format!("{package}, {go}");
        Contender { name, version, abilities: ABILITIES, command: Box::new(command) }
    };
    Ok(vec![contender("fasthttp, reuseport", "reuseport"), contender("fasthttp, shared socket", "shared")])
}

/// The path of the built program.
fn program(built: &OnceCell<TempDir>) -> BenchResult<PathBuf> {
    let directory = match built.get() {
        Some(directory) => directory,
        None => {
            let directory = build()?;
            built.get_or_init(|| directory)
        }
    };
    Ok(directory.path().join("server"))
}

fn build() -> BenchResult<TempDir> {
    let directory = tempfile::tempdir()?;
    let source: PathBuf = directory.path().join("main.go");
    fs::write(&source, PROGRAM)?;
    let mut command = Command::new("go");
    command.args(["build", "-o", "server", "main.go"]).current_dir(directory.path());
    command.env("GO111MODULE", "off").env("GOPATH", SOURCES).env("GOFLAGS", "-trimpath");
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("fasthttp: go build failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(directory)
}
