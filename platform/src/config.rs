//! Settings: defaults, then one file, then the environment. Unknown keys are refused.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::Value;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

/// Between the parts of a key in a variable's name: keys themselves contain single underscores.
const SEPARATOR: &str = "__";
/// Variables that other tools set too, and the key each stands for where the settings have its section.
const COMMON_NAMES: [(&str, &str); 1] = [("DATABASE_URL", "database.url")];

/// Why the settings cannot be used. Values are never repeated: they may be secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read at all.
    #[error("cannot read the settings in {file}", file = file.display())]
    Unreadable {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{file} is not valid TOML: {problem}", file = file.display())]
    Syntax {
        /// Which file.
        file: PathBuf,
        /// Where and what.
        problem: String,
    },
    /// A key that means nothing, most likely misspelt.
    #[error("unknown key `{key}` in {place}; known here: {known}")]
    UnknownKey {
        /// The whole key, parts joined by dots.
        key: String,
        /// The file or the variable.
        place: String,
        /// What could stand there instead.
        known: String,
    },
    /// A value of the wrong kind.
    #[error("`{key}` in {place} is not usable: {problem}")]
    WrongValue {
        /// The whole key, parts joined by dots.
        key: String,
        /// The file or the variable.
        place: String,
        /// What was expected.
        problem: String,
    },
    /// A variable that looks like a setting, with one underscore where two belong.
    #[error("{variable} is not a setting; sections end with two underscores: did you mean {meant}?")]
    SingleUnderscore {
        /// As it is spelt.
        variable: String,
        /// As it should be.
        meant: String,
    },
    /// The settings cannot be written as TOML.
    #[error("the settings cannot be printed: {problem}")]
    Print {
        /// Why not.
        problem: String,
    },
}

/// Reads settings: `T`'s defaults, then `file`, then variables such as `STEELYARD_SERVER__LISTEN`.
///
/// `T` and every section in it must carry `#[serde(default, deny_unknown_fields)]`. Variables without
/// a section (`STEELYARD_API_KEY` of a client in the same shell) are left alone.
///
/// # Errors
/// The first thing that is wrong, with its key and the file or variable it stands in.
pub fn load<T>(file: Option<&Path>, prefix: &str) -> Result<T, Error>
where
    T: Serialize + DeserializeOwned + Default,
{
    // Names and values that are not text cannot be ours.
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    load_with(file, prefix, variables)
}

/// [`load`] with the environment handed in.
///
/// # Errors
/// As [`load`].
pub fn load_with<T>(
    file: Option<&Path>,
    prefix: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> Result<T, Error>
where
    T: Serialize + DeserializeOwned + Default,
{
    let mut settings = Figment::new();
    if let Some(file) = file {
        settings = settings.merge(Toml::string(&read(file)?));
        check::<T>(&settings, || file.display().to_string())?;
    }
    let known = sections(&T::default());
    // In a fixed order, so that the same environment always gives the same message.
    let mut chosen: Vec<(String, String, String)> = Vec::new();
    for (name, value) in variables {
        if let Some(key) = key_of(&name, prefix, &known)? {
            chosen.push((name, key, value));
        }
    }
    // Common names first: our own name for the same key wins.
    chosen.sort_by_key(|(name, _, _)| (name.starts_with(prefix), name.clone()));
    for (name, key, value) in chosen {
        settings = with_variable::<T>(settings, &name, &key, &value)?;
    }
    settings.extract().map_err(|error| explain(error, || "the settings".to_owned()))
}

fn read(file: &Path) -> Result<String, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Unreadable { file: file.to_owned(), source })?;
    match toml::from_str::<toml::Table>(&text) {
        Ok(_) => Ok(text),
        // The parser's own rendering quotes the line, which may hold a secret.
        Err(error) => {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            let problem = format!("line {line}: {}", error.message());
            Err(Error::Syntax { file: file.to_owned(), problem })
        }
    }
}

/// The names on the top level.
fn sections<T: Serialize>(defaults: &T) -> Vec<String> {
    match Value::serialize(defaults) {
        Ok(Value::Dict(_, dict)) => dict.into_keys().collect(),
        _ => Vec::new(),
    }
}

/// The key a variable sets, if it is one of ours.
fn key_of(name: &str, prefix: &str, known: &[String]) -> Result<Option<String>, Error> {
    let is_known = |section: &str| known.iter().any(|name| name == section);
    if let Some((_, key)) = COMMON_NAMES.iter().find(|(common, _)| *common == name) {
        let section = key.split('.').next().unwrap_or_default();
        return Ok(is_known(section).then(|| (*key).to_owned()));
    }
    let Some(rest) = name.strip_prefix(prefix).map(str::to_lowercase) else {
        return Ok(None);
    };
    if rest.contains(SEPARATOR) {
        return Ok(Some(rest.replace(SEPARATOR, ".")));
    }
    if is_known(&rest) {
        return Ok(Some(rest));
    }
    let near =
        known.iter().find_map(|section| Some((section, rest.strip_prefix(section.as_str())?.strip_prefix('_')?)));
    match near {
        Some((section, field)) => {
            let meant = format!("{prefix}{}{SEPARATOR}{}", section.to_uppercase(), field.to_uppercase());
            Err(Error::SingleUnderscore { variable: name.to_owned(), meant })
        }
        None => Ok(None),
    }
}

fn with_variable<T: DeserializeOwned>(settings: Figment, name: &str, key: &str, value: &str) -> Result<Figment, Error> {
    let place = || format!("the environment variable {name}");
    // Numbers, booleans and lists are read as such; parsing anything else gives the text itself.
    let parsed: Value = value.parse().unwrap_or_else(|_| Value::from(value));
    let read = settings.clone().merge((key, parsed));
    let Err(problem) = check::<T>(&read, place) else {
        return Ok(read);
    };
    // A password of digits only is still text.
    let as_text = settings.merge((key, value));
    check::<T>(&as_text, place).map(|()| as_text).map_err(|_| problem)
}

fn check<T: DeserializeOwned>(settings: &Figment, place: impl FnOnce() -> String) -> Result<(), Error> {
    settings.extract::<T>().map(drop).map_err(|error| explain(error, place))
}

/// Turns figment's account into ours, which names the place and keeps values out.
fn explain(error: figment::Error, place: impl FnOnce() -> String) -> Error {
    let (mut path, place) = (error.path, place());
    let problem = match error.kind {
        Kind::UnknownField(field, known) => {
            if path.last() != Some(&field) {
                path.push(field);
            }
            let known = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
            return Error::UnknownKey { key: path.join("."), place, known };
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) | Kind::InvalidLength(_, expected) => {
            format!("expected {expected}")
        }
        Kind::UnknownVariant(_, known) => format!("expected one of {}", known.join(", ")),
        Kind::MissingField(field) => format!("`{field}` is missing"),
        Kind::Message(message) => message,
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => "the number is out of range".to_owned(),
        other => other.to_string(),
    };
    Error::WrongValue { key: path.join("."), place, problem }
}

/// The settings as a file could hold them, with secrets redacted; unset ones are left out.
///
/// # Errors
/// [`Error::Print`] when a value has no form in TOML.
pub fn print_config<T: Serialize>(settings: &T) -> Result<String, Error> {
    toml::to_string_pretty(settings).map_err(|error| Error::Print { problem: error.to_string() })
}

/// Something secret, set or not.
pub trait Secret {
    /// Whether there is a secret at all: that much may be shown.
    fn is_set(&self) -> bool;
}

impl Secret for SecretString {
    fn is_set(&self) -> bool {
        true
    }
}

impl Secret for Option<SecretString> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

/// For `#[serde(serialize_with = "platform::config::redacted")]` on every secret field.
///
/// # Errors
/// What the serializer says.
pub fn redacted<T: Secret, S: Serializer>(secret: &T, serializer: S) -> Result<S::Ok, S::Error> {
    if secret.is_set() { serializer.serialize_some("[redacted]") } else { serializer.serialize_none() }
}
