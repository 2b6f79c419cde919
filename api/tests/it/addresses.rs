//! Where keys are used from.

use api::store::addresses::{self, KeyAddress};
use http::Method;
use protocol::{KeyId, OrganizationId, Timestamp};

use crate::live::{Live, PATIENCE, Setup, until};
use crate::support::{TestApp, text};

/// Two requests to `live`, the second of which claims to be somebody else's: the addresses seen, with their requests.
async fn seen(live: &Live) -> Vec<(String, i64)> {
    for headers in [&[][..], &[("x-forwarded-for", "198.51.100.1")]] {
        let answer = live.call_with(Method::GET, "/v1/key", Some(&live.key), headers, "").await.reply().await;
        assert_eq!(answer.status, 200);
    }
    let organization: OrganizationId = live.organization.parse().unwrap();
    let mut rows = Vec::new();
    until("both are written", PATIENCE, async || {
        live.app.addresses.write(&live.app.db).await.unwrap();
        let mut conn = live.app.db.acquire().await.unwrap();
        rows = addresses::list_of(&mut conn, organization, 10).await.unwrap();
        rows.iter().map(|row| row.requests).sum::<i64>() == 2
    })
    .await;
    let mut seen: Vec<_> = rows.into_iter().map(|row| (row.address, row.requests)).collect();
    seen.sort();
    seen
}

#[tokio::test]
async fn the_other_end_of_a_connection_is_remembered_and_what_it_claims_is_not() {
    let live = Setup::nodes(0).start().await;
    assert_eq!(seen(&live).await, [("127.0.0.1".to_owned(), 2)]);
}

#[tokio::test]
async fn behind_a_proxy_of_ours_it_is_whom_the_proxy_was_called_by() {
    let trusts =
        |config: &mut api::config::Config| config.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let live = Setup::nodes(0).with(trusts).start().await;
    assert_eq!(seen(&live).await, [("127.0.0.1".to_owned(), 1), ("198.51.100.1".to_owned(), 1)]);
}

#[tokio::test]
async fn a_key_keeps_so_many_addresses_and_those_of_long_ago_are_forgotten() {
    let test = TestApp::start().await;
    let (org, _) = test.customer().await;
    let key: KeyId = text(&test.admin(&["key", "list", "--org", &org]).await[0]["key"]).parse().unwrap();
    let at = Timestamp::from_unix_seconds;
    let row = |n: i64| KeyAddress {
        key,
        address: format!("192.0.2.{n}"),
        first_seen_at: at(n),
        last_seen_at: at(n),
        requests: 1,
    };
    let mut conn = test.app.db.acquire().await.unwrap();
    let rows: Vec<_> = (0..8).map(row).collect();
    assert_eq!(addresses::add(&mut conn, &rows, 5).await.unwrap(), 5, "of too many the latest");
    assert_eq!(addresses::add(&mut conn, &rows, 5).await.unwrap(), 5, "what is known is counted on");
    let listed = addresses::list_of(&mut conn, org.parse().unwrap(), 10).await.unwrap();
    assert_eq!(listed.len(), 5);
    assert_eq!(listed[0], KeyAddress { requests: 2, ..row(7) });
    assert_eq!(addresses::prune(&mut conn, at(5)).await.unwrap(), 2);
    assert_eq!(addresses::list_of(&mut conn, org.parse().unwrap(), 10).await.unwrap().len(), 3);
}
