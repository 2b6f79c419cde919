//! The programs themselves, as processes that are killed, stopped and started again, each on a Postgres
//! server of its own. What must survive is read from outside: from clients, from the books.

mod broker_killed;
mod caller;
mod clock;
mod database_away;
mod demo_chain;
mod demo_killed;
mod engine;
mod keyed_killed;
mod lanes;
mod limits;
mod node_killed;
mod redis;
mod settings;
mod side_by_side;
mod spawn;
mod tools;
mod world;
