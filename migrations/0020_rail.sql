-- The chain side of payouts: what shall happen there, what was signed for it, and what the chain says has happened.

-- One call each. The purpose is unique, so wishing for the same twice is wishing once. `waiting` has no transaction that
-- could still count; `moot` was refused by the contract for good, because what it wanted is so already or never will be.
create table chain_intents (
  intent_id     bigint generated always as identity primary key,
  chain_id      bigint not null,
  signer        bytea not null check (octet_length(signer) = 20),
  purpose       text not null,
  target        bytea not null check (octet_length(target) = 20),
  calldata      bytea not null,
  fee_limit_wei numeric(78, 0) not null check (fee_limit_wei > 0),
  state         text not null default 'waiting' check (state in ('waiting', 'signed', 'done', 'failed', 'moot')),
  reason        text,
  created_at    timestamptz not null,
  closed_at     timestamptz check ((closed_at is not null) = (state in ('done', 'failed', 'moot'))),
  unique (chain_id, signer, purpose)
);
create index chain_intents_waiting on chain_intents (chain_id, signer, intent_id) where state = 'waiting';

-- Nonces are ours to give. One at a time is open: the next comes when the chain has used the last for good. `displaced`
-- was used by a transaction that is none of ours.
create table chain_nonces (
  chain_id    bigint not null,
  signer      bytea not null check (octet_length(signer) = 20),
  nonce       bigint not null check (nonce >= 0),
  intent_id   bigint not null references chain_intents,
  consumed_at timestamptz,
  tx_hash     bytea check (octet_length(tx_hash) = 32),
  displaced   boolean not null default false,
  primary key (chain_id, signer, nonce),
  check (consumed_at is not null or tx_hash is null),
  check (consumed_at is null or (tx_hash is null) = displaced)
);
create unique index chain_nonces_open on chain_nonces (chain_id, signer) where consumed_at is null;
create unique index chain_nonces_intent on chain_nonces (intent_id) where consumed_at is null;

-- Signed bytes, kept before they are sent anywhere. Those of one nonce differ in their fees alone.
create table chain_txs (
  tx_hash         bytea primary key check (octet_length(tx_hash) = 32),
  chain_id        bigint not null,
  signer          bytea not null,
  nonce           bigint not null,
  raw             bytea not null,
  gas_limit       bigint not null check (gas_limit > 0),
  max_fee_wei     numeric(78, 0) not null check (max_fee_wei > 0),
  tip_wei         numeric(78, 0) not null check (tip_wei >= 0),
  signed_at       timestamptz not null,
  signed_at_block bigint not null,
  foreign key (chain_id, signer, nonce) references chain_nonces,
  unique (chain_id, signer, nonce, max_fee_wei)
);

-- What the contract told, by block: dropped when the block is no longer part of the chain. Booked is what can't change.
create table chain_logs (
  chain_id     bigint not null,
  contract     bytea not null check (octet_length(contract) = 20),
  block_hash   bytea not null check (octet_length(block_hash) = 32),
  log_index    bigint not null,
  block_number bigint not null,
  tx_hash      bytea not null check (octet_length(tx_hash) = 32),
  kind         text not null,
  -- The contract's count of epochs, where the log is about one.
  number       bigint,
  fact         jsonb not null,
  booked_at    timestamptz,
  primary key (block_hash, log_index)
);
create index chain_logs_order on chain_logs (chain_id, contract, block_number, log_index);
create index chain_logs_unbooked on chain_logs (chain_id, contract, block_number, log_index) where booked_at is null;

-- How far a contract's logs are read, and up to where they are final and booked.
create table chain_cursor (
  chain_id     bigint not null,
  contract     bytea not null check (octet_length(contract) = 20),
  read_number  bigint not null,
  read_hash    bytea not null check (octet_length(read_hash) = 32),
  final_number bigint not null check (final_number <= read_number),
  final_hash   bytea not null check (octet_length(final_hash) = 32),
  primary key (chain_id, contract)
);
