//! The reference in the documentation is generated from the table.

use std::path::Path;
use std::{env, fs};

/// The files with the reference: in the guide, and in the attribute's documentation.
const FILES: [&str; 2] = ["../docs/options.md", "../../prefork-macros/docs/options.md"];

const HEAD: &str = "# Options\n\nAn option is an argument of the attribute, `#[prefork::main(workers = 4)]`, a \
                    method of the builder, `.workers(4)`, and, where the table names one, an environment \
                    variable. An invalid value is an error that names the option, the value and the valid \
                    values: a compile error for a literal in the attribute, otherwise an error at the start, \
                    before the fleet listens. With the feature `config`, a \
                    configuration file sets every option that has a variable, except `config` \
                    itself.\n\nA duration is text such as `\"250ms\"`, `\"5s\"` or `\"2m\"`, at \
                    most 365 days, or a `std::time::Duration`. The table shows values as text; the attribute and \
                    the builder also take numbers, durations and the enums of the crate. This page is generated \
                    from the table of options.\n\n";

#[test]
fn reference_is_up_to_date() {
    let text = format!("{HEAD}{}", prefork_options::markdown());
    for file in FILES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{file} is stale: run `UPDATE_DOCS=1 cargo test -p prefork-options`");
    }
}
