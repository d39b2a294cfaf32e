//! Reads the configuration file.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use prefork_options as options;

use super::super::Prefork;
use super::super::values::Source;
use super::parse::{Parsed, Places, Setting, parse};
use super::{ConfigFile, Place};
use crate::error::Error;
use crate::protocol::SecretFile;
use crate::sys;

/// A larger file is no configuration.
const SIZE_MAX: u64 = 1 << 20;

impl Prefork {
    /// Applies the configuration file, if an option names one. `passed` is the file that the master, or the
    /// previous program in this process, has read: if it is the same file, it is not read again.
    pub(in super::super) fn with_config(mut self, passed: Option<SecretFile>) -> Self {
        let Some(path) = self.get::<PathBuf>(&options::CONFIG) else { return self };
        let passed = passed.filter(|file| file.path == path.as_os_str().as_encoded_bytes());
        let text = match passed {
            Some(file) => decode(&path, file.content),
            None => read(&path),
        };
        match text {
            Ok(text) => self.apply_config(path, text),
            Err(error) => self.problems.add(error),
        }
        self
    }

    pub(super) fn apply_config(&mut self, path: PathBuf, text: String) {
        let Parsed { settings, problems } = parse(&path, &text);
        let mut file = ConfigFile { path, text, ..ConfigFile::default() };
        for Setting { row, value, place } in settings {
            self.values.insert(row, Source::File, value);
            file.places.insert(row.setting(), place);
        }
        for (row, error) in problems {
            match row {
                Some(row) => self.problems.add_value(row, error),
                None => self.problems.add(error),
            }
        }
        self.config = Some(file);
    }
}

/// Reads the file, which must be a regular one: reading a pipe could block the master.
pub(super) fn read(path: &Path) -> Result<String, Error> {
    let unreadable = |source| failure(path, None, "it cannot be read", Some(source));
    let mut content = Vec::new();
    let file = sys::open_regular(path).map_err(unreadable)?;
    file.take(SIZE_MAX + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > SIZE_MAX {
        return Err(failure(path, None, "it is larger than 1 MiB", None));
    }
    decode(path, content)
}

fn decode(path: &Path, content: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(content).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        failure(path, Some(Places::new(&text).of(valid)), "the text is not UTF-8 here", None)
    })
}

fn failure(path: &Path, place: Option<Place>, reason: &str, source: Option<io::Error>) -> Error {
    Error::ConfigFile {
        path: path.to_owned(),
        place: place.map(|Place { line, column }| (line, column)),
        reason: reason.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::chain;

    fn directory() -> PathBuf {
        let name = format!("prefork-config-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn file_that_cannot_be_used_has_a_reason() {
        let directory = directory();
        let path = directory.join("app.toml");
        let reason = || chain(&read(&path).unwrap_err()).to_string();
        let name = path.display();
        let missing = format!("cannot use the configuration file {name}: it cannot be read: ");
        assert!(reason().starts_with(&missing), "{}", reason());
        fs::write(&path, b"workers = 1\nuser = \"\xff\"").unwrap();
        assert_eq!(reason(), format!("{name}:2:9: the text is not UTF-8 here"));
        fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
        assert!(reason().ends_with("it is larger than 1 MiB"));
        fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(reason().ends_with("it is not a file"), "{}", reason());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn pipe_is_refused_without_a_wait() {
        let directory = directory();
        let path = directory.join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(chain(&read(&path).unwrap_err()).to_string().ends_with("it is not a file"));
        fs::remove_dir_all(&directory).unwrap();
    }
}
