//! The directory's text for one series: what the master reads of it is checked here, byte by byte, because a child
//! may have written anything.
//!
//! Name, help, labels and bounds follow each other. A label's name and value have their length before them, in two
//! bytes. The lengths of the four parts are in one word.

use super::layout::{MAX_BOUNDS, MAX_HELP, MAX_LABEL_BYTES, MAX_LABELS, MAX_NAME, WORD};
use super::series::{Kind, Series, is_label_name, is_name, is_reserved};

/// A series in memory of its own. All but the help is its identity, in every process of the fleet.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) help: String,
    /// In the order of their names: Prometheus takes any order for the same.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) bounds: Vec<f64>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.name == other.name
            && self.labels == other.labels
            && bits(&self.bounds).eq(bits(&other.bounds))
    }
}

/// A number of 32 bits for a name, which is the first half of its families' numbers.
pub(super) fn name_number(name: &str) -> u64 {
    Hash::new().text(name).finish() >> 32
}

fn bits(bounds: &[f64]) -> impl Iterator<Item = u64> {
    bounds.iter().map(|bound| bound.to_bits())
}

impl From<&Series> for Entry {
    fn from(series: &Series) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self {
            kind: series.kind,
            name: series.name.to_owned(),
            help: series.help.to_owned(),
            labels: series.labels.iter().map(owned).collect(),
            bounds: series.bounds.to_vec(),
        }
    }
}

impl Entry {
    pub(super) fn cells(&self) -> usize {
        self.kind.cells(self.bounds.len())
    }

    /// A number for the identity. Never 0, which is an empty place.
    pub(super) fn identity(&self) -> u64 {
        let hash = self.labels.iter().fold(self.shape(), |hash, (name, value)| hash.text(name).text(value));
        hash.finish().max(1)
    }

    /// A number for the name, and one for name, kind and bounds, in one word: the series of a family have the
    /// same.
    pub(super) fn family(&self) -> u64 {
        name_number(&self.name) << 32 | self.shape().finish() >> 32
    }

    /// Whether it counts requests, as its name tells.
    pub(super) fn counts_requests(&self) -> bool {
        let is_named_so = self.name == "requests_total" || self.name.ends_with("_requests_total");
        self.kind == Kind::Counter && is_named_so
    }

    fn shape(&self) -> Hash {
        let hash = Hash::new().text(&self.name).bytes(&[self.kind as u8]);
        bits(&self.bounds).fold(hash, |hash, bound| hash.bytes(&bound.to_le_bytes()))
    }

    /// The text and its lengths; `None` if the labels are too long.
    pub(super) fn encode(&self) -> Option<(Vec<u8>, Lengths)> {
        let mut labels = Vec::new();
        for text in self.labels.iter().flat_map(|(name, value)| [name, value]) {
            labels.extend(u16::try_from(text.len()).ok()?.to_le_bytes());
            labels.extend(text.as_bytes());
        }
        let lengths = Lengths {
            name: self.name.len(),
            help: self.help.len(),
            labels: labels.len(),
            bounds: self.bounds.len(),
        };
        let bounds = bits(&self.bounds).flat_map(u64::to_le_bytes);
        let texts = self.name.bytes().chain(self.help.bytes()).chain(labels);
        lengths.are_allowed().then(|| (texts.chain(bounds).collect(), lengths))
    }

    /// Reads what [`encode`](Self::encode) made. `None` for anything else.
    pub(super) fn decode(kind: Kind, text: &[u8], lengths: &Lengths) -> Option<Self> {
        let (name, rest) = text.split_at_checked(lengths.name)?;
        let (help, rest) = rest.split_at_checked(lengths.help)?;
        let (labels, rest) = rest.split_at_checked(lengths.labels)?;
        let bounds = rest.get(..lengths.bounds * WORD)?.chunks_exact(WORD);
        let bound = |bytes: &[u8]| Some(f64::from_bits(u64::from_le_bytes(bytes.try_into().ok()?)));
        let entry = Self {
            kind,
            name: String::from_utf8(name.to_vec()).ok()?,
            help: String::from_utf8(help.to_vec()).ok()?,
            labels: decode_labels(labels)?,
            bounds: bounds.map(bound).collect::<Option<_>>()?,
        };
        entry.is_allowed().then_some(entry)
    }

    /// The entry in one piece, for the next program in this process.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let (text, lengths) = self.encode()?;
        Some([&[self.kind as u8][..], &lengths.to_word().to_le_bytes(), &text].concat())
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let (lengths, text) = rest.split_first_chunk()?;
        let lengths = Lengths::from_word(u64::from_le_bytes(*lengths))?;
        Self::decode(Kind::from_number(*kind)?, text, &lengths)
    }

    /// Whether a handle can have such a series.
    fn is_allowed(&self) -> bool {
        let Self { kind, name, help, labels, bounds } = self;
        let mut names = labels.iter().map(|(name, _)| name);
        let is_histogram = *kind == Kind::Histogram;
        is_name(name)
            && !is_reserved(name)
            && help.len() <= MAX_HELP
            && names.all(|name| is_label_name(name) && !(is_histogram && name == "le"))
            && labels.is_sorted_by(|(one, _), (next, _)| one < next)
            && labels.len() <= MAX_LABELS
            && bounds.is_empty() != is_histogram
            && bounds.iter().all(|bound| bound.is_finite())
            && bounds.is_sorted_by(|one, next| one < next)
    }
}

fn decode_labels(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    while !bytes.is_empty() {
        let name = take_text(&mut bytes)?;
        labels.push((name, take_text(&mut bytes)?));
    }
    Some(labels)
}

/// Takes a length and a text of that length.
fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// The lengths of an entry's parts: bytes, and of the bounds their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    name: usize,
    help: usize,
    labels: usize,
    bounds: usize,
}

impl Lengths {
    /// Set in every word of lengths, so that none is 0.
    const WRITTEN: u64 = 1 << 63;

    pub(super) fn to_word(self) -> u64 {
        // All of them are checked, and fit into their 14 bits.
        let number = |length: usize| u64::try_from(length).unwrap_or_default();
        let lengths = number(self.name) | number(self.help) << 14 | number(self.labels) << 28;
        lengths | number(self.bounds) << 42 | Self::WRITTEN
    }

    /// `None` for lengths that no entry has, and if none were written.
    pub(super) fn from_word(word: u64) -> Option<Self> {
        let number = |shift: u32| usize::try_from(word >> shift & 0x3fff).ok();
        let lengths = Self { name: number(0)?, help: number(14)?, labels: number(28)?, bounds: number(42)? };
        (lengths.are_allowed() && lengths.to_word() == word).then_some(lengths)
    }

    fn are_allowed(self) -> bool {
        let Self { name, help, labels, bounds } = self;
        name <= MAX_NAME && help <= MAX_HELP && labels <= MAX_LABEL_BYTES && bounds <= MAX_BOUNDS
    }

    /// Of all parts together, in bytes.
    pub(super) fn total(self) -> usize {
        self.name + self.help + self.labels + self.bounds * WORD
    }
}

/// FNV-1a with a final mix. It is the same in every program, and no secret: series whose numbers agree are told
/// apart by their texts.
#[derive(Clone, Copy)]
pub(super) struct Hash(u64);

impl Hash {
    pub(super) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        Self(bytes.iter().fold(self.0, step))
    }

    /// A text and its end, so that `ab` and `c` differ from `a` and `bc`.
    pub(super) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes()).bytes(&[0xff])
    }

    pub(super) const fn finish(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        mixed ^ (mixed >> 32)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any series that a program can have.
    pub(in crate::shared) fn entry() -> impl Strategy<Value = Entry> {
        let kinds = prop::sample::select((0..=u8::MAX).filter_map(Kind::from_number).collect::<Vec<_>>());
        let labels = prop::collection::btree_map("[a-z][a-z0-9_]{0,6}", ".{0,12}", 0..4);
        let bounds = prop::collection::btree_set(-1000_i32..1000, 1..20);
        (kinds, "[a-zA-Z:][a-zA-Z0-9_:]{0,20}", ".{0,40}", labels, bounds).prop_map(
            |(kind, name, help, labels, bounds)| Entry {
                bounds: match kind {
                    Kind::Histogram => bounds.into_iter().map(|bound| f64::from(bound) / 8.0).collect(),
                    _ => Vec::new(),
                },
                labels: labels.into_iter().filter(|(name, _)| name != "le").collect(),
                kind,
                name,
                help,
            },
        )
    }

    proptest! {
        #[test]
        fn entries_round_trip(entry in entry()) {
            let (text, lengths) = entry.encode().unwrap();
            let lengths = Lengths::from_word(lengths.to_word()).unwrap();
            prop_assert_eq!(lengths.total(), text.len());
            let decoded = Entry::decode(entry.kind, &text, &lengths).unwrap();
            prop_assert_eq!(&decoded.help, &entry.help);
            prop_assert_eq!(Entry::from_bytes(&entry.to_bytes().unwrap()).unwrap(), entry.clone());
            prop_assert_eq!((decoded.identity(), decoded.family()), (entry.identity(), entry.family()));
            prop_assert_eq!(decoded, entry);
        }

        #[test]
        fn any_bytes_are_refused_or_an_entry_that_is_allowed(
            entry in entry(), noise: Vec<(usize, u8)>, word: u64, flips: u8
        ) {
            let (mut text, lengths) = entry.encode().unwrap();
            let size = text.len();
            noise.iter().for_each(|(place, byte)| text[place % size] = *byte);
            let word = if flips == 0 { word } else { lengths.to_word() ^ 1 << (flips % 64) };
            for lengths in [Some(lengths), Lengths::from_word(word)].into_iter().flatten() {
                if let Some(decoded) = Entry::decode(entry.kind, &text, &lengths) {
                    prop_assert!(decoded.is_allowed() && decoded.encode().is_some());
                }
            }
        }
    }

    fn counter(name: &str) -> Entry {
        let (help, labels, bounds) = ("one".to_owned(), Vec::new(), Vec::new());
        Entry { kind: Kind::Counter, name: name.to_owned(), help, labels, bounds }
    }

    fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn identity_has_kind_name_labels_and_bounds_but_not_help() {
        let base = counter("a");
        let histogram = |bound| Entry { kind: Kind::Histogram, bounds: vec![bound], ..counter("a") };
        let others = [
            Entry { kind: Kind::Gauge, ..counter("a") },
            Entry { labels: labels(&[("x", "yz")]), ..counter("a") },
            counter("b"),
            Entry { labels: labels(&[("xy", "z")]), ..counter("a") },
            histogram(1.0),
            histogram(2.0),
        ];
        let same = Entry { help: "two".to_owned(), ..counter("a") };
        assert!(base == same && base.identity() == same.identity());
        let mut all: Vec<u64> = others.iter().chain([&base]).map(Entry::identity).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 7);
        assert!(others.iter().all(|other| *other != base));
        assert_eq!(others[1].family(), base.family(), "labels are no part of the family");
        assert!(others[0].family() != base.family() && others[0].family() >> 32 == base.family() >> 32);
    }

    #[test]
    fn entries_that_no_handle_can_have_are_refused() {
        let refused = [
            counter("prefork_children"),
            counter("a b"),
            Entry { labels: labels(&[("x", "1"), ("x", "2")]), ..counter("a") },
            Entry { labels: labels(&[("__name__", "1")]), ..counter("a") },
            Entry { bounds: vec![1.0], ..counter("a") },
            Entry { kind: Kind::Histogram, ..counter("a") },
            Entry { kind: Kind::Histogram, bounds: vec![2.0, 1.0], ..counter("a") },
            Entry { kind: Kind::Histogram, bounds: vec![f64::NAN], ..counter("a") },
            Entry {
                kind: Kind::Histogram,
                bounds: vec![1.0],
                labels: labels(&[("le", "1")]),
                ..counter("a")
            },
        ];
        for entry in refused {
            let (text, lengths) = entry.encode().unwrap();
            assert!(Entry::decode(entry.kind, &text, &lengths).is_none(), "{entry:?}");
        }
        let long = Entry { labels: labels(&[("x", &"y".repeat(700))]), ..counter("a") };
        assert!(long.encode().is_none());
    }
}
