#![allow(clippy::unwrap_used)]

mod request;
mod stream;

use super::*;
