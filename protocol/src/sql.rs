//! Column types: each newtype is the plain Postgres type of what it wraps.

/// Implements sqlx's traits for a newtype through the type it wraps.
macro_rules! column {
    ($name:ident, $inner:ty, |$own:ident| $out:expr, |$raw:ident| $parse:expr) => {
        impl sqlx::Type<sqlx::Postgres> for $name {
            fn type_info() -> sqlx::postgres::PgTypeInfo {
                <$inner as sqlx::Type<sqlx::Postgres>>::type_info()
            }

            fn compatible(ty: &sqlx::postgres::PgTypeInfo) -> bool {
                <$inner as sqlx::Type<sqlx::Postgres>>::compatible(ty)
            }
        }

        impl sqlx::postgres::PgHasArrayType for $name {
            fn array_type_info() -> sqlx::postgres::PgTypeInfo {
                <$inner as sqlx::postgres::PgHasArrayType>::array_type_info()
            }
        }

        impl<'q> sqlx::Encode<'q, sqlx::Postgres> for $name {
            fn encode_by_ref(
                &self,
                buffer: &mut sqlx::postgres::PgArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                let $own = self;
                <$inner as sqlx::Encode<'q, sqlx::Postgres>>::encode_by_ref(&$out, buffer)
            }
        }

        impl<'r> sqlx::Decode<'r, sqlx::Postgres> for $name {
            fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
                let $raw = <$inner as sqlx::Decode<'r, sqlx::Postgres>>::decode(value)?;
                let parsed: Result<Self, sqlx::error::BoxDynError> = $parse;
                parsed
            }
        }
    };
}

pub(crate) use column;
