//! Every route with who may call it: what the list says is what the router serves and what callers meet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use api::keys::KeyKind;
use api::openapi::Revision;
use api::routes::{Access, ROUTES};
use http::Method;
use serde_json::Value;

use crate::support::{Reply, TestApp, text};

/// A path of the list as a caller would write it. The ids are well formed and nobody's.
fn filled(path: &str) -> String {
    let nobody = "0".repeat(32);
    let filled = path
        .replace("{*id}", "org/name")
        .replace("{*rate_limit}", "rl-org/name")
        .replace("{provider}", &format!("prov_{nobody}"))
        .replace("{node}", &format!("node_{nobody}"))
        .replace("{project}", &format!("proj_{nobody}"))
        .replace("{service_account}", &format!("svcacct_{nobody}"))
        .replace("{key}", &format!("key_{nobody}"))
        .replace("{payment_method}", &format!("card_{nobody}"))
        .replace("{topup}", &format!("topup_{nobody}"))
        .replace("{receipt}", &format!("rcpt_{nobody}"))
        .replace("{payout}", &format!("payout_{nobody}"))
        .replace("{epoch}", "1")
        .replace("{webhook}", &format!("whk_{nobody}"))
        .replace("{document}", &format!("doc_{nobody}"))
        .replace("{id}", "resp_1");
    assert!(!filled.contains('{'), "an id of {path} is not known here");
    let bare = ["/health/", "/hooks/", "/metrics", "/openapi", "/docs"].iter().any(|own| filled.starts_with(own));
    if bare { filled } else { format!("/v1{filled}") }
}

/// One key of each kind.
async fn keys(test: &TestApp) -> Vec<(KeyKind, String)> {
    let (organization, inference) = test.customer().await;
    let mut keys = vec![(KeyKind::Inference, inference)];
    for (kind, name) in [(KeyKind::Management, "management"), (KeyKind::Admin, "admin")] {
        let made = test.admin(&["key", "create", "--org", &organization, "--kind", name]).await;
        keys.push((kind, text(&made["secret"])));
    }
    keys.push((KeyKind::Provider, test.join(1).await.key));
    keys
}

async fn ask(test: &TestApp, method: &str, path: &str, key: Option<&str>) -> Reply {
    let call = test.call(method.parse::<Method>().unwrap(), &filled(path));
    key.map_or(test.call(method.parse().unwrap(), &filled(path)), |key| call.bearer(key)).send().await
}

#[tokio::test]
async fn a_route_answers_whom_the_list_says_and_nobody_else() {
    let test = TestApp::start().await;
    let keys = keys(&test).await;
    for &(method, path, access) in ROUTES {
        let without = ask(&test, method, path, None).await;
        if access == Access::Anyone {
            assert!(![401, 403].contains(&without.status.as_u16()), "{method} {path}: {}", without.json);
            continue;
        }
        assert_eq!((without.status.as_u16(), without.code()), (401, None), "{method} {path}: {}", without.json);
        for (kind, key) in &keys {
            let reply = ask(&test, method, path, Some(key)).await;
            let met = (reply.status.as_u16(), reply.code());
            let may = match access {
                Access::Anyone => true,
                Access::Key(needed) => *kind == needed,
                Access::Payer => [KeyKind::Inference, KeyKind::Management].contains(kind),
                Access::Supplier => *kind == KeyKind::Provider,
                Access::Node => false,
            };
            // No key of ours stands in for a session: it is no session at all.
            let refused = if access == Access::Node {
                (401, Some("invalid_api_key"))
            } else {
                (403, Some("insufficient_permissions"))
            };
            if may {
                assert!(![401, 403, 405].contains(&met.0), "{method} {path} with {kind:?}: {}", reply.json);
            } else {
                assert_eq!(met, refused, "{method} {path} with {kind:?}: {}", reply.json);
            }
        }
    }
}

#[tokio::test]
async fn the_list_has_every_route_there_is_and_no_other() {
    let test = TestApp::start().await;
    let mut listed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (method, path, _) in ROUTES {
        assert!(listed.entry(path).or_default().insert(method), "{method} {path} is listed twice");
    }
    for (path, methods) in &listed {
        // A method nobody serves is answered with those that are.
        let reply = test.call(Method::TRACE, &filled(path)).send().await;
        assert_eq!(reply.status, 405, "{path} is listed and not served");
        let served: BTreeSet<&str> =
            reply.header("allow").unwrap().split(',').filter(|method| *method != "HEAD").collect();
        assert_eq!(&served, methods, "{path}");
    }
    let mut written = BTreeSet::new();
    paths_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/routes"), &mut written);
    let listed: BTreeSet<String> = listed.keys().map(|path| (*path).to_owned()).collect();
    assert_eq!(written, listed, "src/routes and the list differ");
}

/// A path as the document and the list both write it: what a parameter is called, and whether it may hold a slash, is
/// the router's business.
fn blank(path: &str) -> String {
    let bare = path.strip_prefix("/v1").unwrap_or(path);
    bare.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn document() -> Value {
    serde_json::from_str(api::openapi::text(Revision::V31)).unwrap()
}

#[test]
fn the_published_document_asks_for_the_keys_that_the_list_says() {
    let document = document();
    // Nothing may follow a wildcard in a router: the model's own route serves its endpoints.
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let served_by = blank(path.strip_suffix("/endpoints").unwrap_or(path));
            let is_it = |route: &&(&str, &str, Access)| route.0 == method.to_uppercase() && blank(route.1) == served_by;
            let (.., access) = ROUTES.iter().find(is_it).unwrap();
            let expected: &[&str] = match access {
                Access::Anyone => &[],
                Access::Key(kind) => &[kind.name()],
                Access::Payer => &["inference", "management"],
                Access::Supplier => &["provider", "session"],
                Access::Node => &["session"],
            };
            let requirements = operation["security"].as_array().unwrap();
            let schemes: BTreeSet<&str> =
                requirements.iter().flat_map(|one| one.as_object().unwrap().keys().map(String::as_str)).collect();
            let schemes: Vec<&str> = schemes.into_iter().filter(|scheme| *scheme != "inferenceHeader").collect();
            // The catalogue is anybody's, and a key that is sent all the same has to count.
            let is_open = requirements.iter().any(|one| one.as_object().unwrap().is_empty());
            assert_eq!(is_open, expected.is_empty(), "{method} {path}");
            assert!(is_open || schemes == expected, "{method} {path}: {schemes:?}");
        }
    }
}

#[test]
fn the_published_document_describes_every_route_and_no_other() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        described.extend(operations.as_object().unwrap().keys().map(|method| (method.to_uppercase(), blank(path))));
    }
    let mut listed: BTreeSet<_> = ROUTES.iter().map(|(method, path, _)| ((*method).to_owned(), blank(path))).collect();
    // Served by the model's own route.
    listed.insert(("GET".to_owned(), "/models/{}/endpoints".to_owned()));
    let apart: Vec<_> = described.symmetric_difference(&listed).collect();
    assert!(apart.is_empty(), "{apart:?}");
}

/// Every path a router of these sources names.
fn paths_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            paths_in(&path, found);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        for after in source.split(".route(").skip(1) {
            let literal = after.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
            let (literal, _) =
                literal.unwrap_or_else(|| panic!("{}: a route's path is not written out", path.display()));
            found.insert(literal.to_owned());
        }
    }
}
