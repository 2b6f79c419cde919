//! What operators watch is there to be watched.

use std::collections::BTreeSet;
use std::path::Path;

/// Every name of a metric in a text.
fn metrics_in(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !is_part(c)).filter(|word| word.starts_with("steelyard_"));
    // A histogram is exposed as several series.
    let endings = ["_bucket", "_sum", "_count"];
    words.map(|word| endings.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()).collect()
}

fn metrics_of_sources(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            metrics_of_sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(metrics_in(&std::fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn every_alert_and_every_chart_is_about_a_metric_there_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut known = BTreeSet::new();
    for part in ["api", "billing", "node", "onchain", "platform", "protocol", "scheduler"] {
        metrics_of_sources(&root.join(part).join("src"), &mut known);
    }
    for (file, least) in [("alerts.yml", 16), ("grafana/boards/steelyard.json", 10)] {
        let watched = metrics_in(&std::fs::read_to_string(root.join("deploy/compose").join(file)).unwrap());
        assert!(watched.len() >= least, "{file} watches {}", watched.len());
        let missing: Vec<_> = watched.difference(&known).collect();
        assert!(missing.is_empty(), "{file} is about {missing:?}, which nothing counts");
    }
}
