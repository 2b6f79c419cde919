//! Values in the query.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Query parameters.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

/// Most values of one list: as many ids as a longest page names.
const MAX_VALUES: usize = 100;

/// The query read once, so that every spelling of a value comes out the same: `k=a&k=b` and `k[]=a&k[]=b` are
/// lists, `k[name]=v` is a map. What nobody asks for is ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query as it stands in a URL, without the question mark.
    #[must_use]
    pub fn parse(query: &str) -> Self {
        Self(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The one value of `name`. An empty one is as good as none.
    ///
    /// # Errors
    /// 400 when it is there twice: which one is meant can't be told.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name);
        let first = values.next().map(|(_, value)| value.as_str());
        if values.next().is_some() {
            return Err(invalid(name, "may be given once"));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// The one value of `name`, read.
    ///
    /// # Errors
    /// 400 when it is there twice or can't be read.
    pub fn read<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Option<T>, ApiError> {
        self.text(name)?.map(|text| text.parse().map_err(|error: T::Err| invalid(name, error.to_string()))).transpose()
    }

    /// A whole number within `bounds`.
    ///
    /// # Errors
    /// 400 when it is anything else.
    pub fn integer(&self, name: &str, bounds: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.parse().ok().filter(|number| bounds.contains(number));
        number
            .map(Some)
            .ok_or_else(|| invalid(name, format!("a whole number between {} and {}", bounds.start(), bounds.end())))
    }

    /// `true` or `false`.
    ///
    /// # Errors
    /// 400 when it is anything else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| invalid(name, "true or false"))).transpose()
    }

    /// One of `choices`, by its name.
    ///
    /// # Errors
    /// 400 when it is none of them.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, ApiError> {
        self.text(name)?.map(|text| choose(name, text, choices)).transpose()
    }

    /// All values of `name`, in order, however the list is spelled. Empty ones are left out.
    ///
    /// # Errors
    /// 400 past `MAX_VALUES`.
    pub fn list(&self, name: &str) -> Result<Vec<&str>, ApiError> {
        let own = |key: &str| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == "[]");
        let values = self.0.iter().filter(|(key, value)| own(key) && !value.is_empty());
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        if values.len() > MAX_VALUES {
            return Err(invalid(name, format!("at most {MAX_VALUES} values")));
        }
        Ok(values)
    }

    /// All values of `name`, read.
    ///
    /// # Errors
    /// 400 when one can't be read, or past `MAX_VALUES`.
    pub fn read_list<T: FromStr<Err: Display>>(&self, name: &str) -> Result<Vec<T>, ApiError> {
        let values = self.list(name)?;
        values.iter().map(|text| text.parse().map_err(|error: T::Err| invalid(name, error.to_string()))).collect()
    }

    /// All values of `name`, each one of `choices`.
    ///
    /// # Errors
    /// 400 when one is none of them, or past `MAX_VALUES`.
    pub fn choices<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Vec<T>, ApiError> {
        self.list(name)?.into_iter().map(|text| choose(name, text, choices)).collect()
    }

    /// The pairs of a map: `name[key]=value`.
    ///
    /// # Errors
    /// 400 past `MAX_VALUES`.
    pub fn map(&self, name: &str) -> Result<Vec<(&str, &str)>, ApiError> {
        let pairs = self.0.iter().filter_map(|(key, value)| Some((map_key(key, name)?, value.as_str())));
        let pairs: Vec<(&str, &str)> = pairs.collect();
        if pairs.len() > MAX_VALUES {
            return Err(invalid(name, format!("at most {MAX_VALUES} pairs")));
        }
        Ok(pairs)
    }
}

fn map_key<'a>(key: &'a str, name: &str) -> Option<&'a str> {
    key.strip_prefix(name)?.strip_prefix('[')?.strip_suffix(']').filter(|key| !key.is_empty())
}

fn choose<T: Copy>(name: &str, text: &str, choices: &[(&str, T)]) -> Result<T, ApiError> {
    let found = choices.iter().find(|(choice, _)| *choice == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        invalid(name, format!("one of {}", names.join(", ")))
    })
}

fn invalid(name: &str, message: impl Into<String>) -> ApiError {
    ApiError::invalid(name, message).with_code("invalid_value")
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// At most this many, 1 to 100.
    pub limit: u32,
    /// Those after this id.
    pub after: Option<String>,
}

impl Page {
    /// Length of a page when nothing is asked.
    pub const DEFAULT_LIMIT: u32 = 20;
    /// Longest page.
    pub const MAX_LIMIT: u32 = 100;

    /// Reads `limit` and `after`; without a limit the page has `default` entries.
    ///
    /// # Errors
    /// 400 when either can't be read.
    pub fn of(params: &Params, default: u32) -> Result<Self, ApiError> {
        let limit = params.integer("limit", 1..=i64::from(Self::MAX_LIMIT))?;
        let limit = limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(default);
        Ok(Self { limit, after: params.text("after")?.map(str::to_owned) })
    }

    /// The id behind which the page begins.
    ///
    /// # Errors
    /// 400 when it is no id of that kind.
    pub fn after<T: FromStr<Err: Display>>(&self) -> Result<Option<T>, ApiError> {
        let after =
            self.after.as_deref().map(|after| after.parse::<T>().map_err(|error| invalid("after", error.to_string())));
        after.transpose()
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(error) => Err(ApiError::invalid(None::<&str>, error.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Self::of(&Params::from_request_parts(parts, state).await?, Self::DEFAULT_LIMIT)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_in_either_spelling() {
        for query in ["k=a&k=b%2Fc", "k[]=a&k[]=b/c", "k%5B%5D=a&k=b%2Fc&k="] {
            assert_eq!(Params::parse(query).list("k").unwrap(), ["a", "b/c"], "{query}");
        }
        assert!(Params::parse("kk=a&k[x]=b").list("k").unwrap().is_empty());
        let long = vec!["k=a"; MAX_VALUES + 1].join("&");
        assert_eq!(Params::parse(&long).list("k").unwrap_err().status(), 400);
    }

    #[test]
    fn a_map_comes_as_name_and_key() {
        let params = Params::parse("metadata[team]=a%26b&metadata%5Brun%5D=7&metadata=x&metadata[]=y&other[team]=c");
        assert_eq!(params.map("metadata").unwrap(), [("team", "a&b"), ("run", "7")]);
    }

    #[test]
    fn what_can_be_meant_in_two_ways_is_refused() {
        let params = Params::parse("a=1&a=2&b=&c=x&d=7");
        assert_eq!(params.text("a").unwrap_err().body()["error"]["param"], "a");
        assert_eq!((params.text("b").unwrap(), params.text("missing").unwrap()), (None, None));
        assert!(params.integer("c", 0..=9).is_err() && params.integer("d", 0..=6).is_err());
        assert_eq!(params.integer("d", 0..=7).unwrap(), Some(7));
        assert!(params.flag("d").is_err() && params.choice("d", &[("8", ())]).is_err());
    }

    #[test]
    fn a_page_has_between_one_and_a_hundred_entries() {
        let page = |query: &str| Page::of(&Params::parse(query), Page::DEFAULT_LIMIT);
        assert_eq!(page("").unwrap(), Page { limit: 20, after: None });
        assert_eq!(page("limit=100&after=x").unwrap(), Page { limit: 100, after: Some("x".to_owned()) });
        for wrong in ["limit=0", "limit=101", "limit=-1", "limit=ten", "limit=1&limit=2"] {
            assert_eq!(page(wrong).unwrap_err().status(), 400, "{wrong}");
        }
        assert!(page("after=x").unwrap().after::<protocol::KeyId>().is_err());
    }
}
