//! The body of a fuzz target: the text of a configuration file.

use std::path::Path;

use super::parse::{PROBLEMS_MAX, Parsed, parse};
use crate::fuzzing::assert_one_line;

/// More than the longest message has, beside what it shows of the file.
const LONGEST: usize = 1000;

/// A text as a configuration file.
pub(crate) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Parsed { settings, problems } = parse(Path::new("/etc/app.toml"), &text);
    for setting in &settings {
        assert_eq!(setting.row.kind.check(&setting.value), Ok(()), "{setting:?}");
        assert!(setting.row.is_in_file(), "{setting:?}");
        assert!((1..=text.split('\n').count()).contains(&setting.place.line), "{setting:?}");
    }
    // A key that is there twice is a problem of the text.
    let names = settings.iter().map(|setting| setting.row.name);
    assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), settings.len());
    assert!(problems.len() <= PROBLEMS_MAX + 1, "{}", problems.len());
    for (_, error) in &problems {
        assert_one_line(error);
        assert!(error.to_string().len() <= LONGEST, "{error}");
    }
}
