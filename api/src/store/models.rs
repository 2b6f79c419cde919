//! The catalogue: models the operator lets providers offer.

use protocol::Timestamp;
use sqlx::PgConnection;

use crate::keys::Digest;

/// One model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// The public id, such as `org/name`.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// A sentence or two.
    pub description: String,
    /// The longest prompt and answer together that the model was made for.
    pub context_length: u32,
    /// Where its weights are published.
    pub hugging_face_id: Option<String>,
    /// What its text is counted with; without one, providers' counts are all there is.
    pub tokenizer: Option<Digest>,
    /// When it was added.
    pub created_at: Timestamp,
}

struct Row {
    model_id: String,
    name: String,
    description: String,
    context_length: i32,
    hugging_face_id: Option<String>,
    tokenizer_digest: Option<Vec<u8>>,
    created_at: Timestamp,
}

impl TryFrom<Row> for Model {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let corrupt =
            |what: &str| sqlx::Error::Decode(format!("{what} of model {} is out of range", row.model_id).into());
        let tokenizer = row.tokenizer_digest.map(Digest::try_from).transpose().map_err(|_| corrupt("tokenizer"))?;
        let context_length = u32::try_from(row.context_length).map_err(|_| corrupt("context length"))?;
        Ok(Self {
            id: row.model_id,
            name: row.name,
            description: row.description,
            context_length,
            hugging_face_id: row.hugging_face_id,
            tokenizer,
            created_at: row.created_at,
        })
    }
}

/// Adds a model, or replaces what is said of it; its id and age stay.
///
/// # Errors
/// When the database fails.
pub async fn put(conn: &mut PgConnection, model: &Model) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into models (model_id, name, description, context_length, hugging_face_id, tokenizer_digest, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (model_id) do update
            set name = excluded.name, description = excluded.description, context_length = excluded.context_length,
                hugging_face_id = excluded.hugging_face_id, tokenizer_digest = excluded.tokenizer_digest",
        model.id,
        model.name,
        model.description,
        i32::try_from(model.context_length).unwrap_or(i32::MAX),
        model.hugging_face_id,
        model.tokenizer.as_ref().map(Digest::as_slice),
        model.created_at as Timestamp,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// One model.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut PgConnection, id: &str) -> Result<Option<Model>, sqlx::Error> {
    let row = sqlx::query_as!(
        Row,
        r#"select model_id, name, description, context_length, hugging_face_id, tokenizer_digest,
                  created_at as "created_at: Timestamp"
             from models where model_id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?;
    row.map(Model::try_from).transpose()
}

/// The whole catalogue, by id. It is the operator's own list, hundreds long, not the users'.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<Model>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"select model_id, name, description, context_length, hugging_face_id, tokenizer_digest,
                  created_at as "created_at: Timestamp"
             from models order by model_id"#,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Model::try_from).collect()
}

/// Those of `ids` that are not in the catalogue.
///
/// # Errors
/// When the database fails.
pub async fn list_missing(conn: &mut PgConnection, ids: &[String]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select asked as "asked!" from unnest($1::text[]) asked
            where not exists (select from models where model_id = asked)"#,
        ids,
    )
    .fetch_all(conn)
    .await
}
