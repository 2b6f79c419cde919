//! The words that tell the kinds of a union apart, written into each kind: a kind is then known by itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Closes every field that tells kinds apart over the words its unions use for the kind.
pub(super) fn write(document: &mut Value) {
    let schemas = &mut document["components"]["schemas"];
    let mut words: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for schema in schemas.as_object().into_iter().flat_map(|all| all.values()) {
        let discriminator = &schema["discriminator"];
        let Some(field) = discriminator["propertyName"].as_str() else { continue };
        for (word, kind) in discriminator["mapping"].as_object().into_iter().flatten() {
            let kind = kind.as_str().and_then(|reference| reference.rsplit('/').next()).unwrap_or_default();
            words.entry((kind.to_owned(), field.to_owned())).or_default().insert(word.clone());
        }
    }
    for ((kind, field), words) in words {
        schemas[&kind]["properties"][&field]["enum"] = words.into_iter().collect::<Vec<_>>().into();
    }
}
