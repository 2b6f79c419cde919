-- What was answered under an Idempotency-Key, for a day, so that a repeated request runs and costs once.
-- Neither the key nor the answer is here in the clear: rows go by a hash that includes the key, and the
-- answer is sealed with the key itself, which only the client has.

create table idempotency_keys (
  -- Hash of project (or organization), kind of API key, and Idempotency-Key.
  name        bytea primary key check (length(name) = 32),
  -- The project, or the organization of a key that has none.
  scope_id    uuid not null,
  -- Hash of the key, the route and the body.
  fingerprint bytea not null check (length(fingerprint) = 32),
  -- The run that has the key, or answered under it.
  request_id  uuid not null,
  -- Who runs it: a restarted replica frees what its earlier boots left behind.
  replica     text not null,
  boot_id     uuid not null,
  -- While it runs: until when it counts as alive, by this server's clock. Null once it has ended.
  lives_until timestamptz,
  -- The sealed answer. Null while it runs, and afterwards when it was lost or is too large to keep.
  answer      bytea check (length(answer) <= 5242880),
  -- When the key is as good as new.
  expires_at  timestamptz not null,
  check (lives_until is null or answer is null)
);
create index idempotency_keys_expiry on idempotency_keys (expires_at);
create index idempotency_keys_running on idempotency_keys (replica) where lives_until is not null;
