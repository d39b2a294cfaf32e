//! A configuration file, and servers that are started with it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::fleet::Server;
use crate::program::public_directory;

/// A configuration file in a directory of its own.
#[derive(Debug)]
pub struct ConfigFile(TempDir);

impl ConfigFile {
    /// A file with this text.
    pub fn new(text: &str) -> Self {
        let config = Self(public_directory());
        config.write(text);
        config
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory().join("app.toml")
    }

    /// Its directory, which has no other file.
    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    /// Replaces the text.
    pub fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    /// A message about a place in the file.
    pub fn at(&self, message: &str) -> String {
        format!("{}:{message}", self.path().display())
    }

    /// A server that leaves `workers` to the file.
    pub fn server(&self, program: impl AsRef<Path>) -> Server {
        let server = Server::new(program.as_ref()).unset("workers");
        server.env("PREFORK_CONFIG", &self.path().display().to_string())
    }
}
