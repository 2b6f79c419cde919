-- Which network addresses keys were used from, for whoever has to show that a disputed payment was its cardholder's.
-- Kept for 400 days after an address was last seen. Of IPv6 only the network is kept.
create table key_addresses (
  key_id        uuid not null references api_keys,
  address       inet not null,
  first_seen_at timestamptz not null,
  last_seen_at  timestamptz not null,
  requests      bigint not null check (requests > 0),
  primary key (key_id, address),
  check (first_seen_at <= last_seen_at)
) with (fillfactor = 80);
create index key_addresses_last_seen on key_addresses (last_seen_at);
