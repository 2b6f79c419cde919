-- Epochs: what of the receipts is paid on which day, to whom, and the documents that prove it.

-- One after another without a gap; usually a UTC day each. The states are those of BILLING: a veto leads from proposed
-- back to frozen under the same number, a hold can be put on whatever is not proposed yet.
create table epochs (
  epoch              bigint primary key check (epoch > 0),
  starts_at          timestamptz not null,
  ends_at            timestamptz not null check (ends_at > starts_at),
  -- Whatever was released before then is paid or void: where looking for what is due may begin.
  floor_at           timestamptz not null,
  state              text not null default 'open'
                     check (state in ('open', 'frozen', 'priced', 'built', 'proposed', 'active', 'held')),
  held_reason        text check ((held_reason is not null) = (state = 'held')),
  frozen_at          timestamptz,
  price              jsonb,
  manifest           jsonb,
  manifest_signature bytea check (octet_length(manifest_signature) = 65),
  -- The number under which the contract has the tree; none where the tree stayed as it was.
  proposal           bigint unique check (proposal > 0),
  active_at          timestamptz,
  vetoes             integer not null default 0,
  check ((manifest is null) = (manifest_signature is null)),
  check (state not in ('built', 'proposed', 'active') or manifest is not null)
);
create unique index epochs_open on epochs ((true)) where state = 'open';

-- Each receipt is in exactly one epoch.
create table statement_items (
  attempt_id  uuid primary key,
  epoch       bigint not null references epochs,
  provider_id uuid not null
);
create index statement_items_of on statement_items (epoch, provider_id, attempt_id);

alter table receipt_cases add column epoch bigint references epochs;
alter table receipt_cases add check (epoch is null or adjustment_nano_usd > 0);

-- What an epoch knows of a provider since it was frozen, and what it said once it was built. Without a document it had
-- nothing to say.
create table statements (
  epoch       bigint not null references epochs,
  provider_id uuid not null,
  wallet      bytea not null check (octet_length(wallet) = 20),
  account     bytea check (octet_length(account) = 20),
  blocked     text check (blocked in ('payee_change', 'screening', 'no_payee')),
  document    jsonb,
  signature   bytea check (octet_length(signature) = 65),
  payee       bytea check (octet_length(payee) = 20),
  cumulative  numeric(78, 0) check (cumulative >= 0),
  claimed_at  timestamptz,
  primary key (epoch, provider_id),
  check ((document is null) = (signature is null) and (document is null) = (cumulative is null))
);
create index statements_of on statements (provider_id, epoch) where document is not null;

-- A provider's sum never falls, whoever writes it.
create function refuse_falling_sum() returns trigger language plpgsql as $$
begin
  if exists (select from statements s where s.provider_id = new.provider_id and s.epoch < new.epoch
                                        and s.cumulative > new.cumulative) then
    raise exception 'the sum of provider % would fall in epoch %', new.provider_id, new.epoch
      using errcode = 'restrict_violation';
  end if;
  return new;
end $$;
create trigger never_falls before insert or update of cumulative on statements
  for each row when (new.cumulative is not null) execute function refuse_falling_sum();

-- Files of an epoch, by their SHA-256; of nobody in particular, or of one provider.
create table artefacts (
  epoch       bigint not null references epochs,
  provider_id uuid not null default '00000000-0000-0000-0000-000000000000',
  name        text not null,
  sha256      bytea not null check (octet_length(sha256) = 32),
  bytes       bigint not null check (bytes >= 0),
  primary key (epoch, provider_id, name)
);

-- Where a provider is paid: each change has the next number, both accounts' signatures, and a time from which it counts.
create table payout_accounts (
  provider_id  uuid not null,
  nonce        bigint not null check (nonce >= 0),
  account      text not null,
  requested_at timestamptz not null,
  effective_at timestamptz not null check (effective_at >= requested_at),
  cancelled_at timestamptz,
  signatures   jsonb,
  primary key (provider_id, nonce),
  check (nonce = 0 or signatures is not null)
);
insert into payout_accounts (provider_id, nonce, account, requested_at, effective_at)
select provider_id, 0, payout_account, created_at, created_at from providers where state <> 'pending';

insert into ledger_accounts (kind, currency) values ('fx', 'USD') on conflict do nothing;
