//! Credit bought by card, through Stripe's own client, at a fake of it that misbehaves.

mod deaths;
mod disputes;
mod history;
mod inbox;
mod lines;
mod recharge;
mod refunds;
mod saved;
pub mod support;
mod topups;
mod velocity;
mod warnings;
mod windows;
