//! Process titles, as `ps` and `top` show them: `app: master` and `app: child 3`.

use std::env;
use std::path::PathBuf;

use crate::sys;

/// Linux keeps this many bytes of a process's name.
const NAME_LENGTH: usize = 15;

/// The default name: that of the program, as it was started.
pub(crate) fn default_title() -> String {
    let name = env::args_os().next().map(PathBuf::from);
    let name = name.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
    name.map_or_else(|| "prefork".to_owned(), |name| name.replace(char::is_control, "?"))
}

/// Sets the master's title. Its arguments follow, because tools such as `pgrep -f` search for them.
pub(crate) fn title_master(title: &str) {
    if !title.is_empty() {
        let arguments: Vec<String> =
            env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        sys::set_title(&format!("{title}: master {}", arguments.join(" ")), &short(title, ": master"));
    }
}

/// Sets a child's title.
pub(crate) fn title_child(title: &str, slot: usize) {
    if !title.is_empty() {
        let role = format!(": child {slot}");
        sys::set_title(&format!("{title}{role}"), &short(title, &role));
    }
}

/// Sets the title of a template.
pub(crate) fn title_template(title: &str) {
    if !title.is_empty() {
        let role = ": template";
        sys::set_title(&format!("{title}{role}"), &short(title, role));
    }
}

/// A long title is shortened, and never the role, which distinguishes the processes.
fn short(title: &str, role: &str) -> String {
    let mut end = title.len().min(NAME_LENGTH.saturating_sub(role.len()));
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{role}", &title[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_title_is_shortened_and_role_is_kept() {
        assert_eq!(short("app", ": child 3"), "app: child 3");
        assert_eq!(short("my-service", ": child 12"), "my-se: child 12");
        assert_eq!(short("\u{e9}\u{e9}\u{e9}\u{e9}", ": child 12"), "\u{e9}\u{e9}: child 12");
    }
}
