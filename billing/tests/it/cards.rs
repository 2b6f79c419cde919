//! Credit bought by card, through Stripe's own client, at a fake of it that misbehaves.

mod deaths;
mod disputes;
mod history;
mod inbox;
mod lines;
mod refunds;
mod support;
mod topups;
mod warnings;
mod windows;
