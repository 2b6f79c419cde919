//! Credit bought by card, through Stripe's own client, at a fake of it that misbehaves.

mod history;
mod inbox;
mod refunds;
mod support;
mod topups;
mod windows;
