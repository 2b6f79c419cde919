//! Daily partitions of usage, attempts, usage reports and receipts, by the time inside their UUIDv7 keys.

use protocol::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection};
use uuid::Uuid;

use crate::calendar;

/// What is partitioned.
const TABLES: [&str; 4] = ["usage", "attempts", "usage_reports", "receipts"];
/// Partitions exist for ids dated back to here: two days in hours, and the day that begins them.
const DAYS_BACK: i64 = 3;
/// Serialises makers; the number only has to be ours alone.
const LOCK: i64 = 0x5354_4545_4c59_4152;

/// Makes the partitions of the last three days and of `ahead` more, where they are missing, and returns
/// the names of those it made. Run it in a transaction of its own.
pub(crate) async fn ensure(conn: &mut PgConnection, now: Timestamp, ahead: i64) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *conn).await?;
    let have = sqlx::query_scalar!(
        r#"select c.relname as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent in ('usage'::regclass, 'attempts'::regclass, 'usage_reports'::regclass,
                                  'receipts'::regclass)"#,
    )
    .fetch_all(&mut *conn)
    .await?;
    let today = calendar::day_of(now);
    let mut made = Vec::new();
    for table in TABLES {
        for day in today - DAYS_BACK..=today + ahead {
            let (year, month, of_month) = calendar::date(day);
            let name = format!("{table}_{year:04}{month:02}{of_month:02}");
            if !have.contains(&name) {
                make(conn, table, &name, day).await?;
                made.push(name);
            }
        }
    }
    Ok(made)
}

/// Made apart and attached: attaching lets inserts into other partitions go on, creating in place does not.
/// Row triggers come with attaching, the statement trigger against truncation does not.
async fn make(conn: &mut PgConnection, table: &str, name: &str, day: i64) -> Result<(), sqlx::Error> {
    let (from, to) = (first_id(calendar::midnight(day)), first_id(calendar::midnight(day + 1)));
    // Names and bounds are made of our own words and numbers.
    let statement = format!(
        "create table {name} (like {table} including defaults including constraints);
         create trigger insert_only_truncate before truncate on {name} for each statement execute function refuse_change();
         alter table {table} attach partition {name} for values from ('{from}') to ('{to}')"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await?;
    Ok(())
}

/// The smallest UUIDv7 dated `at` or later.
pub(crate) fn first_id(at: Timestamp) -> Uuid {
    let ms = u128::try_from(at.unix_ms()).unwrap_or(0);
    Uuid::from_u128(ms << 80)
}

/// How many whole days ahead of `now` all tables have partitions for.
pub(crate) async fn ahead(conn: &mut PgConnection, now: Timestamp) -> Result<i64, sqlx::Error> {
    let have = sqlx::query_scalar!(
        r#"select c.relname as "name!" from pg_inherits i join pg_class c on c.oid = i.inhrelid
            where i.inhparent in ('usage'::regclass, 'attempts'::regclass, 'usage_reports'::regclass,
                                  'receipts'::regclass)"#,
    )
    .fetch_all(conn)
    .await?;
    let today = calendar::day_of(now);
    let covered = |day: i64| {
        let (year, month, of_month) = calendar::date(day);
        TABLES.iter().all(|table| have.contains(&format!("{table}_{year:04}{month:02}{of_month:02}")))
    };
    Ok((1..).take_while(|ahead| covered(today + ahead)).last().unwrap_or(0))
}
