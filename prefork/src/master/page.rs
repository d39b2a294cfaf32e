//! The page for people at `/`: a table of the children and simple charts, which the browser makes from `/status`.

use std::hash::{BuildHasher, Hasher, RandomState};

use super::http::Answer;

const HTML: &str = include_str!("page.html");
/// In the place of this, the style and the script of the page have the random word that allows them.
const PLACE: &str = "{{nonce}}";

/// The page, which loads nothing but `/status`, and runs no script but its own.
pub(super) fn page() -> Answer {
    let nonce = nonce();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Answer::page(HTML.replace(PLACE, &nonce), policy)
}

/// A word that nobody can guess, for one answer.
fn nonce() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_have_the_nonce_of_the_answer() {
        let (first, second) = (page().head(true), page().head(true));
        let nonce = |head: &str| head.split("nonce-").nth(1).unwrap()[..32].to_owned();
        assert_ne!(nonce(&first), nonce(&second));
        let answer = page();
        let nonce = nonce(&answer.head(true));
        assert_eq!(answer.body().matches(&format!(" nonce=\"{nonce}\">")).count(), 2);
        assert!(!answer.body().contains(PLACE));
    }

    #[test]
    fn page_needs_nothing_from_elsewhere() {
        for foreign in ["http://", "https://", "src=", "url(", "@import", "style=", "onclick", "innerHTML"] {
            assert!(!HTML.contains(foreign), "{foreign}");
        }
    }
}
