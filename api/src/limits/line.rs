//! The connection to Redis, and the two scripts that run there.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError};

use super::bucket::BucketId;
use super::share::{Heard, Told};

const EXCHANGE: &str = include_str!("exchange.lua");
const PRESENCE: &str = include_str!("presence.lua");
/// What starts every key, so that a Redis may serve others too.
const PREFIX: &str = "steelyard:limit:";
const PRESENT: &str = "steelyard:limits:replicas";
/// What a replica holds is free again this long after it was last heard.
const LEASE: Duration = Duration::from_secs(10);

/// The way to Redis, opened when it is needed.
pub(super) struct Line {
    client: Client,
    timeout: Duration,
    replica: String,
    open: Option<Open>,
}

struct Open {
    connection: MultiplexedConnection,
    exchange: String,
    presence: String,
}

impl Line {
    pub fn new(client: Client, timeout: Duration, replica: &str) -> Self {
        Self { client, timeout, replica: replica.to_owned(), open: None }
    }

    /// Says that this replica is there; how many are.
    pub async fn present(&mut self) -> Result<u32, RedisError> {
        self.register(LEASE).await
    }

    /// Says that this replica goes.
    pub async fn leave(&mut self) {
        let _ = self.register(Duration::ZERO).await;
    }

    /// Tells about limits; what is heard of each, in their order.
    pub async fn exchange(&mut self, told: &[(BucketId, Told)]) -> Result<Vec<Heard>, RedisError> {
        let replica = self.replica.clone();
        let open = self.open().await?;
        let mut pipe = Pipeline::with_capacity(told.len());
        for (id, about) in told {
            pipe.cmd("EVALSHA").arg(&open.exchange).arg(1).arg(format!("{PREFIX}{id}")).arg(&replica);
            pipe.arg(about.keep).arg(about.asked).arg(about.want).arg(about.used).arg(about.lost);
            pipe.arg(about.quota.per_minute).arg(about.quota.burst).arg(LEASE.as_micros().to_string());
        }
        let answer: Result<Vec<(u64, f64, u64)>, RedisError> = pipe.query_async(&mut open.connection).await;
        let heard = |(granted, debt, others)| Heard { granted, debt, others };
        self.close_if_lost(answer).map(|all| all.into_iter().map(heard).collect())
    }

    async fn register(&mut self, lease: Duration) -> Result<u32, RedisError> {
        let replica = self.replica.clone();
        let open = self.open().await?;
        let mut command = redis::cmd("EVALSHA");
        command.arg(&open.presence).arg(1).arg(PRESENT).arg(replica).arg(lease.as_micros().to_string());
        let answer = command.query_async(&mut open.connection).await;
        self.close_if_lost(answer)
    }

    /// A connection with the scripts loaded. Any failure closes it, so one that lost its scripts gets them anew.
    async fn open(&mut self) -> Result<&mut Open, RedisError> {
        if self.open.is_none() {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.timeout))
                .set_response_timeout(Some(self.timeout));
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            let load = async |connection: &mut MultiplexedConnection, script: &str| -> Result<String, RedisError> {
                redis::cmd("SCRIPT").arg("LOAD").arg(script).query_async(connection).await
            };
            let exchange = load(&mut connection, EXCHANGE).await?;
            let presence = load(&mut connection, PRESENCE).await?;
            self.open = Some(Open { connection, exchange, presence });
        }
        Ok(self.open.as_mut().expect("it was opened above"))
    }

    fn close_if_lost<T>(&mut self, answer: Result<T, RedisError>) -> Result<T, RedisError> {
        if answer.is_err() {
            self.open = None;
        }
        answer
    }
}
