//! Reads `/status`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;

use crate::client;

/// The answer of a health endpoint.
#[derive(Debug, Clone)]
pub struct Status(String);

/// An object of a list in `/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row(String);

impl Status {
    /// Asks the health endpoint.
    pub fn of(addr: SocketAddr) -> Self {
        Self(client::get(addr, "/status"))
    }

    /// The children.
    pub fn children(&self) -> Vec<Row> {
        self.rows("children")
    }

    /// The slots that wait for their next child.
    pub fn waiting(&self) -> Vec<Row> {
        self.rows("waiting")
    }

    /// The templates.
    pub fn templates(&self) -> Vec<Row> {
        self.rows("templates")
    }

    /// The requests of each child, by pid.
    pub fn requests(&self) -> BTreeMap<u32, Option<u64>> {
        let pid = |child: &Row| child.get("pid").expect("a child has a pid");
        self.children().iter().map(|child| (pid(child), child.get("requests"))).collect()
    }

    fn rows(&self, list: &str) -> Vec<Row> {
        let begin = format!("\"{list}\":[");
        let (_, rest) = self.0.split_once(&begin).unwrap_or_else(|| panic!("no {list}: {}", self.0));
        let objects = rest.split(']').next().unwrap_or_default().split('{').skip(1);
        objects.map(|object| Row(object.to_owned())).collect()
    }
}

impl Row {
    /// A number or a word; `None` if it is `null`.
    pub fn get<T: FromStr>(&self, field: &str) -> Option<T> {
        let begin = format!("\"{field}\":");
        let (_, rest) = self.0.split_once(&begin).unwrap_or_else(|| panic!("no {field}: {}", self.0));
        let value = rest.split([',', '}']).next().unwrap_or_default();
        let is_known = value != "null";
        let value = value.trim_matches('"');
        is_known.then(|| value.parse().unwrap_or_else(|_| panic!("{field} is {value}: {}", self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read() {
        let text = r#"{"slots":3,"listeners":[{"addr":"[::1]:80"}],"children":[{"slot":0,"pid":7,"requests":null},{"slot":1,"pid":8,"requests":9}],"waiting":[{"slot":2,"starts_in_seconds":1.5}]}"#;
        let status = Status(text.to_owned());
        assert_eq!(status.requests(), BTreeMap::from([(7, None), (8, Some(9))]));
        let waiting = status.waiting();
        assert_eq!((waiting.len(), waiting[0].get("starts_in_seconds")), (1, Some(1.5)));
    }
}
