//! The one shape of a page of a list.

use serde::Serialize;

/// Some entries, and whether there are more behind them.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    object: &'static str,
    data: Vec<T>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

/// Something gone. Deleting it again says the same.
#[derive(Debug, Serialize)]
pub(super) struct Deleted {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    object: &'static str,
    deleted: bool,
}

impl<T> List<T> {
    /// The page of at most `limit` entries, `id` naming each. One entry too many says that there are more.
    pub(super) fn of(mut entries: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Self {
        let has_more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        Self::ending(entries, has_more, id)
    }

    /// The page before some entry: one entry too many is the first.
    pub(super) fn before(mut entries: Vec<T>, limit: u32, id: impl Fn(&T) -> String) -> Self {
        let surplus = entries.len().saturating_sub(limit as usize);
        entries.drain(..surplus);
        Self::ending(entries, surplus > 0, id)
    }

    fn ending(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> String) -> Self {
        let (first_id, last_id) = (data.first().map(&id), data.last().map(&id));
        Self { object: "list", data, first_id, last_id, has_more }
    }
}

impl Deleted {
    /// Something with an id.
    pub(super) fn named(id: impl ToString, object: &'static str) -> Self {
        Self { id: Some(id.to_string()), object, deleted: true }
    }

    /// Something there is one of.
    pub(super) fn only(object: &'static str) -> Self {
        Self { id: None, object, deleted: true }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::{json, to_value};

    #[test]
    fn a_page_says_where_it_ends_and_whether_more_follows() {
        let id = |n: &u32| format!("n{n}");
        let page = to_value(List::of(vec![3, 2, 1], 2, id)).unwrap();
        let expected = json!({ "object": "list", "data": [3, 2], "first_id": "n3", "last_id": "n2", "has_more": true });
        assert_eq!(page, expected);
        assert_eq!(to_value(List::before(vec![3, 2, 1], 2, id)).unwrap()["data"], json!([2, 1]));
        let empty = json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false });
        assert_eq!(to_value(List::of(Vec::<u32>::new(), 2, id)).unwrap(), empty);
    }
}
