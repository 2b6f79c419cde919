//! Credit bought by card, through Stripe's own client, at a fake of it that misbehaves.

mod history;
mod inbox;
mod recharge;
mod refunds;
mod saved;
pub mod support;
mod topups;
mod velocity;
mod windows;
