-- Receipts: which keys nodes sign their reports with, what the broker gave for each attempt, when that may be paid,
-- and what is being argued about.

-- A key a node announced in its own session. The delegation is the provider's wallet vouching for it.
create table receipt_keys (
  node_id      uuid not null,
  address      bytea not null check (octet_length(address) = 20),
  provider_id  uuid not null,
  delegation   bytea check (octet_length(delegation) = 65),
  announced_at timestamptz not null,
  primary key (node_id, address)
);
create index receipt_keys_provider on receipt_keys (provider_id);

-- One signed receipt per attempt. `receipt` is all that is signed; the columns beside it are what it is looked up by.
create table receipts (
  attempt_id   uuid not null,
  request_id   uuid not null,
  provider_id  uuid not null,
  account_id   uuid not null,
  net_nano_usd bigint not null check (net_nano_usd >= 0),
  is_unsigned  boolean not null,
  is_apart     boolean not null,
  is_recovered boolean not null,
  receipt      jsonb not null,
  signature    bytea not null check (octet_length(signature) = 65),
  settled_at   timestamptz not null,
  release_at   timestamptz not null check (release_at >= settled_at),
  issued_at    timestamptz not null,
  primary key (attempt_id)
) partition by range (attempt_id);
create index receipts_provider on receipts (provider_id, attempt_id);
create index receipts_release on receipts (release_at);
create trigger insert_only before update or delete on receipts for each row execute function refuse_change();
create trigger insert_only_truncate before truncate on receipts for each statement execute function refuse_change();

-- Attempts up to here have their receipt.
create table receipt_cursor (
  one  boolean primary key default true check (one),
  upto uuid not null
);
insert into receipt_cursor (upto) values ('00000000-0000-0000-0000-000000000000');

-- Reports of attempts nobody settled, that were looked at and did not count.
create table unrecovered_reports (
  attempt_id uuid primary key,
  reason     text not null,
  noted_at   timestamptz not null
);
alter table report_days add column recovered bigint not null default 0 check (recovered >= 0);

-- What a person must decide: a provider's word against a receipt, or figures that are no chance. While a case about a
-- provider is open nothing is paid to it.
create table receipt_cases (
  case_id             uuid primary key,
  provider_id         uuid not null,
  attempt_id          uuid,
  kind                text not null check (kind in ('dispute', 'apart', 'recovered', 'fraud')),
  reason              text not null check (length(reason) between 1 and 2000),
  opened_at           timestamptz not null,
  decided_at          timestamptz,
  verdict             text check (verdict in ('upheld', 'rejected')),
  adjustment_nano_usd bigint not null default 0 check (adjustment_nano_usd >= 0),
  check ((kind = 'dispute') = (attempt_id is not null)),
  check ((verdict is null) = (decided_at is null)),
  check (adjustment_nano_usd = 0 or (kind = 'dispute' and verdict = 'upheld'))
);
create unique index receipt_cases_dispute on receipt_cases (attempt_id) where attempt_id is not null;
create unique index receipt_cases_open on receipt_cases (provider_id, kind) where attempt_id is null and decided_at is null;

-- Who is paid: the wallet that speaks for it, since when it is with us, and what it earned as a newcomer.
create table payees (
  provider_id    uuid primary key,
  wallet         bytea not null check (octet_length(wallet) = 20),
  since          timestamptz not null,
  early_nano_usd bigint not null default 0 check (early_nano_usd >= 0)
);
insert into payees (provider_id, wallet, since)
select provider_id, decode(substr(receipt_address, 3), 'hex'), created_at from providers where state <> 'pending';

-- Where those who pay by card for the first time spend it.
create table payer_shares (
  account_id   uuid not null,
  provider_id  uuid not null,
  net_nano_usd bigint not null check (net_nano_usd >= 0),
  primary key (account_id, provider_id)
);

-- Payers and providers that belong together, as an operator found out.
create table linked_payers (
  account_id  uuid not null,
  provider_id uuid not null,
  reason      text not null,
  noted_at    timestamptz not null,
  primary key (account_id, provider_id)
);
