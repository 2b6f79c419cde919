//! How a value that prints and parses goes into JSON: as its text.

/// Serialises a type by its `Display` and reads it by its `FromStr`.
macro_rules! text_value {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use text_value;

/// Exactly `N` bytes in lower-case hex digits: two spellings of one value would be two values to whoever hashes it.
pub(crate) fn lower_hex<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = !digits.bytes().any(|b| b.is_ascii_uppercase());
    hex::decode_to_slice(digits, &mut bytes).ok().filter(|()| lower).map(|()| bytes)
}
