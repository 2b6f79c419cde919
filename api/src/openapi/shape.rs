//! How shapes on the wire are written down here: what is always there, then, behind a semicolon, what may be left out.
//!
//! Shapes are for the document only: requests are read by the envelope, objects written by the relay.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Objects we read in which a null counts as absent: what is behind the semicolon may be left out or null.
macro_rules! requests {
    ($($(#[$attribute:meta])* $name:ident {
        $($(#[$needed_attribute:meta])* $needed:ident: $needed_kind:ty,)*
        $(; $($(#[$wished_attribute:meta])* $wished:ident: $wished_kind:ty,)*)?
    })+) => {
        $(#[derive(serde::Serialize, utoipa::ToSchema)] #[allow(dead_code)] $(#[$attribute])*
        pub(in crate::openapi) struct $name {
            $($(#[$needed_attribute])* pub $needed: $needed_kind,)*
            $($($(#[$wished_attribute])* pub $wished: Option<$wished_kind>,)*)?
        })+
    };
}

/// Objects as they are written: nulls are written out, and what is behind the semicolon is left out where there is none.
macro_rules! objects {
    ($($(#[$attribute:meta])* $name:ident {
        $($(#[$standing_attribute:meta])* $standing:ident: $standing_kind:ty,)*
        $(; $($(#[$passing_attribute:meta])* $passing:ident: $passing_kind:ty,)*)?
    })+) => {
        $(#[derive(serde::Serialize, utoipa::ToSchema)] #[allow(dead_code)] $(#[$attribute])*
        pub(in crate::openapi) struct $name {
            $($(#[$standing_attribute])* #[schema(required)] pub $standing: $standing_kind,)*
            $($($(#[$passing_attribute])* #[schema(required = false)] pub $passing: $passing_kind,)*)?
        })+
    };
}

/// One of several objects, told apart by the word in one field. The document writes the word into each of them.
macro_rules! unions {
    ($($(#[$attribute:meta])* $name:ident by $field:tt { $($($word:tt)|+ => $kind:ident,)+ })+) => {
        $(#[derive(serde::Serialize, utoipa::ToSchema)] #[allow(dead_code, clippy::enum_variant_names, clippy::large_enum_variant)] $(#[$attribute])*
        #[serde(untagged)]
        #[schema(discriminator(property_name = $field, mapping(
            $($(($word = concat!("#/components/schemas/", stringify!($kind)))),+),+
        )))]
        pub(in crate::openapi) enum $name { $($kind($kind),)+ })+
    };
}

/// One of several forms of a value, told apart by their types.
macro_rules! forms {
    ($($(#[$attribute:meta])* $name:ident { $($form:ident: $kind:ty,)+ })+) => {
        $(#[derive(serde::Serialize, utoipa::ToSchema)] #[allow(dead_code, clippy::large_enum_variant)] $(#[$attribute])*
        #[serde(untagged)]
        pub(in crate::openapi) enum $name { $($form($kind),)+ })+
    };
}

/// Operations. The functions are never called: each carries the description of the handler that serves its path.
macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident;)+) => {
        $($(#[$attribute])* #[allow(dead_code)] pub(super) fn $name() {})+
    };
}

pub(super) use {forms, objects, operations, requests, unions};

/// An object with members of its writer's choosing.
#[derive(Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct JsonObject(Value);
