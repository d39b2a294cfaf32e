//! A search index in memory: built once, shared by all children, and built anew by a reload.
//!
//! ```console
//! $ cargo run --release --example search_index
//! $ curl 'http://127.0.0.1:8080/?q=w17+w4'
//! ```
//!
//! The documents are made up; their number is in `DOCUMENTS`. The 150000 of the default take some 200 MB.

use std::collections::HashMap;
use std::env;
use std::io;
use std::process;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use prefork::{Preloaded, Shutdown};
use serde::Deserialize;
use tokio::net::TcpListener;

const WORDS: u64 = 20_000;
const WORDS_OF_DOCUMENT: u64 = 80;

/// Who searches only reads it. A reference count or a cache in it would be written, and each child would then have a
/// copy of the page where it is.
struct Index {
    documents: Vec<String>,
    /// The documents that a word is in, by rising number.
    places: HashMap<String, Vec<u32>>,
}

// `build` is called by one process, from which all children are forked.
#[prefork::main(preload = build)]
async fn serve(ln: TcpListener, shutdown: Shutdown, index: Preloaded<Index>) -> io::Result<()> {
    let app = Router::new().route("/", get(search)).with_state(index);
    axum::serve(ln, app).with_graceful_shutdown(shutdown).await
}

/// An error here ends the start, and a reload then leaves the old children as they are.
fn build() -> Result<Index, Box<dyn std::error::Error + Send + Sync>> {
    let count: u32 = match env::var("DOCUMENTS") {
        Ok(count) => count.parse().map_err(|error| format!("DOCUMENTS={count}: {error}"))?,
        Err(_) => 150_000,
    };
    let mut index = Index { documents: Vec::new(), places: HashMap::new() };
    for number in 0..count {
        let text = document(number.into());
        for word in text.split(' ') {
            let places = match index.places.get_mut(word) {
                Some(places) => places,
                None => index.places.entry(word.to_owned()).or_default(),
            };
            if places.last() != Some(&number) {
                places.push(number);
            }
        }
        index.documents.push(text);
    }
    Ok(index)
}

/// Words in an order without meaning, and the same at every start.
fn document(number: u64) -> String {
    let mut state = number;
    let words = (0..WORDS_OF_DOCUMENT).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Some words are frequent, as in a language.
        let (first, second) = ((state >> 33) % WORDS, (state >> 48) % WORDS);
        format!("w{}", first * second / WORDS)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

async fn search(State(index): State<Preloaded<Index>>, Query(Search { q }): Query<Search>) -> String {
    let lists: Vec<&[u32]> =
        q.split_whitespace().map(|word| index.places.get(word).map_or(&[][..], Vec::as_slice)).collect();
    let found: Vec<u32> = match lists.split_first() {
        Some((first, others)) => {
            let is_in_all = |number: &&u32| others.iter().all(|list| list.binary_search(number).is_ok());
            first.iter().filter(is_in_all).copied().collect()
        }
        None => Vec::new(),
    };
    let mut answer = format!("{} documents, says process {}\n", found.len(), process::id());
    for number in found.iter().take(3) {
        answer += &format!("{number}: {}\n", index.documents[*number as usize]);
    }
    answer
}
