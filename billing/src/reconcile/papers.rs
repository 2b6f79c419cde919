//! Papers say what the books say.

use sqlx::PgConnection;

use super::{Check, Report};
use crate::document;
use crate::store::documents;

/// The newest papers built again: enough to see a change the day it happens, few enough to do with every run.
const BUILT_AGAIN: i64 = 50;

/// Papers come out of the books as they were issued.
pub(super) async fn check(conn: &mut PgConnection, report: &mut Report) -> Result<(), sqlx::Error> {
    let issued = documents::list_newest(conn, BUILT_AGAIN).await?;
    let mut differences = Vec::new();
    for (id, papers) in &issued {
        match document::rebuild(conn, *id).await? {
            Some(again) if again == *papers => {}
            Some(_) => differences.push(format!("{id} comes out of the books with other bytes than were issued")),
            None => differences.push(format!("{id} can't be built from the books any more")),
        }
    }
    let name = "the newest statements and receipts can be built again, byte for byte";
    report.checks.push(Check { name, examined: issued.len() as u64, differences });
    Ok(())
}
