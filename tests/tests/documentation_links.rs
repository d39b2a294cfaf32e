//! Links between the repository's documents lead somewhere.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every Markdown file of the repository.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["", "tests", "prefork/docs", "examples", "examples/certs", "examples/deploy/systemd"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(root.join(folder)).unwrap());
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect()
}

/// The text without blocks of code.
fn prose(text: &str) -> String {
    text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n")
}

/// The targets of `[text](target)` and of `[label]: target`.
fn targets(text: &str) -> Vec<&str> {
    let inline = text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    let definitions = text.lines().filter(|line| line.starts_with('['));
    inline.chain(definitions.filter_map(|line| Some(line.split_once("]: ")?.1))).collect()
}

/// The anchors of a document's headings, as GitHub and rustdoc make them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().chars();
        let kept = kept.filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// What is wrong with a link from a document, if anything is.
fn problem(document: &Path, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { document.to_owned() } else { document.with_file_name(file) };
    if !path.exists() {
        return Some(format!("{}: there is no {target}", document.display()));
    }
    let known = |anchor: &str| anchors(&prose(&fs::read_to_string(&path).unwrap())).contains(anchor);
    let missing = anchor.is_some_and(|anchor| !known(anchor));
    missing.then(|| format!("{}: {target} has no such heading", document.display()))
}

/// In the documentation of the crate, a page is a module, and the definitions at its end, which lead to files, are
/// preceded by others.
#[test]
fn links_of_a_page_lead_to_modules_as_well() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../prefork");
    let guide = fs::read_to_string(source.join("src/guide.rs")).unwrap();
    let mut problems = Vec::new();
    for module in guide.split("\n\n").filter(|text| text.contains("include_str!")) {
        let page = module.split("docs/").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        let text = fs::read_to_string(source.join("docs").join(page)).unwrap();
        let labels =
            text.lines().filter(|line| line.starts_with('[') && line.contains("]: ") && line.contains(".md"));
        let missing =
            labels.filter_map(|line| line.split_once(':')).filter(|(label, _)| !module.contains(*label));
        problems.extend(missing.map(|(label, _)| format!("{page}: guide.rs does not define {label}")));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn relative_links_have_targets() {
    let documents = documents();
    assert!(documents.len() > 8, "{documents:?}");
    let mut problems = Vec::new();
    for document in &documents {
        let text = prose(&fs::read_to_string(document).unwrap());
        problems.extend(targets(&text).into_iter().filter_map(|target| problem(document, target)));
    }
    assert!(problems.is_empty(), "{problems:#?}");
}
