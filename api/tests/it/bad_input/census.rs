//! Everything a database holds, in a few words: what is refused leaves them as they were.

use sqlx::PgPool;

/// Written by the broker's own loops, whoever asks for what: when a replica was last seen, how far was summed up.
const LIVING: [&str; 5] = ["replicas", "folds", "fold_watermark", "credit_moves", "statement_months"];

/// For each table how many rows it has, and a digest of them.
pub async fn census(db: &PgPool) -> String {
    let query = "select string_agg(table_name || ' ' || (xpath('//said/text()', query_to_xml(format(
                     'select count(*) || '' '' || coalesce(md5(string_agg(t::text, '','' order by t::text)), '''') as said
                        from %I t', table_name), false, true, '')))[1]::text, E'\\n' order by table_name)
                   from information_schema.tables
                  where table_schema = 'public' and table_type = 'BASE TABLE' and table_name <> all ($1)";
    sqlx::query_scalar(query).bind(LIVING.as_slice()).fetch_one(db).await.unwrap()
}
