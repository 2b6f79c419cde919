-- Who owes whom. Money is lent to gateway replicas ahead of time, spent in batches, and every
-- movement is written twice: as a posting that never changes, and as the small counters that
-- admission needs. Amounts are nano-USD, unit prices pico-USD.

-- What may only be added to. Row triggers, because statement triggers on a partitioned table don't
-- see statements that name one of its partitions.
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'rows of % are never changed or deleted', tg_table_name using errcode = 'restrict_violation';
end $$;

-- One account per organization. Its row lock is what two borrowers queue on.
create table accounts (
  account_id         uuid primary key,
  state              text not null default 'active' check (state in ('active', 'suspended', 'closed')),
  available_nano_usd bigint not null default 0 check (available_nano_usd >= 0),
  opened_at          timestamptz not null default now()
);

-- Which payment or gift a dollar came from: a sub-ledger of what is left of each.
create table grants (
  grant_id           uuid primary key,
  account_id         uuid not null references accounts,
  kind               text not null check (kind in ('promo', 'goodwill')),
  cause              text not null,
  amount_nano_usd    bigint not null check (amount_nano_usd > 0),
  remaining_nano_usd bigint not null check (remaining_nano_usd between 0 and amount_nano_usd),
  expired_nano_usd   bigint not null default 0 check (expired_nano_usd >= 0),
  expires_at         timestamptz,
  granted_at         timestamptz not null,
  unique (kind, cause),
  check (remaining_nano_usd + expired_nano_usd <= amount_nano_usd)
);
create index grants_left on grants (account_id) where remaining_nano_usd > 0;

-- Every start of a gateway replica.
create table replicas (
  name       text not null,
  boot_id    uuid not null unique,
  started_at timestamptz not null default now(),
  seen_at    timestamptz not null default now(),
  stopped_at timestamptz,
  primary key (name, boot_id)
);

-- Credit lent to one boot of one replica. lend_seq makes a loan whose reply was lost repeatable.
create table leases (
  lease_id       uuid primary key,
  account_id     uuid not null references accounts,
  boot_id        uuid not null references replicas (boot_id),
  lent_nano_usd  bigint not null default 0,
  spent_nano_usd bigint not null default 0 check (spent_nano_usd >= 0),
  late_nano_usd  bigint not null default 0 check (late_nano_usd >= 0),
  lend_seq       bigint not null default 0,
  opened_at      timestamptz not null default now(),
  expires_at     timestamptz not null,
  closed_at      timestamptz,
  check (spent_nano_usd <= lent_nano_usd)
) with (fillfactor = 70);
create unique index leases_open on leases (account_id, boot_id) where closed_at is null;
create index leases_of_boot on leases (boot_id) where closed_at is null;
create index leases_expiring on leases (expires_at) where closed_at is null;

-- A limit on what a key, a project or an organization may spend per window.
create table budgets (
  budget_id      uuid primary key,
  scope_kind     text not null check (scope_kind in ('key', 'project', 'organization')),
  scope_id       uuid not null,
  limit_nano_usd bigint not null check (limit_nano_usd >= 0),
  reset          text check (reset in ('daily', 'weekly', 'monthly')),
  set_at         timestamptz not null default now(),
  removed_at     timestamptz
);
create unique index budgets_scope on budgets (scope_kind, scope_id) where removed_at is null;

-- One window of a budget: limit + over = available + lent by open leases + spent by closed ones + late.
create table budget_windows (
  budget_id          uuid not null references budgets,
  starts_at          timestamptz not null,
  limit_nano_usd     bigint not null check (limit_nano_usd >= 0),
  available_nano_usd bigint not null check (available_nano_usd >= 0),
  late_nano_usd      bigint not null default 0 check (late_nano_usd >= 0),
  over_nano_usd      bigint not null default 0 check (over_nano_usd >= 0),
  primary key (budget_id, starts_at)
);

create table budget_leases (
  lease_id       uuid primary key,
  budget_id      uuid not null,
  starts_at      timestamptz not null,
  boot_id        uuid not null references replicas (boot_id),
  lent_nano_usd  bigint not null default 0,
  spent_nano_usd bigint not null default 0 check (spent_nano_usd >= 0),
  lend_seq       bigint not null default 0,
  opened_at      timestamptz not null default now(),
  expires_at     timestamptz not null,
  closed_at      timestamptz,
  check (spent_nano_usd <= lent_nano_usd),
  foreign key (budget_id, starts_at) references budget_windows
) with (fillfactor = 70);
create unique index budget_leases_open on budget_leases (budget_id, starts_at, boot_id) where closed_at is null;
create index budget_leases_of_boot on budget_leases (boot_id) where closed_at is null;
create index budget_leases_expiring on budget_leases (expires_at) where closed_at is null;
create index budget_leases_of_window on budget_leases (budget_id, starts_at);

-- The books. The platform's own accounts have the nil UUID as owner: a null could not be joined by index.
create table ledger_accounts (
  ledger_account_id bigint generated always as identity primary key,
  kind              text not null,
  owner             uuid not null default '00000000-0000-0000-0000-000000000000',
  currency          text not null,
  unique (kind, owner, currency),
  unique (ledger_account_id, currency)
);

-- Postings of one cause. The unique cause makes booking it again a no-op.
create table transfers (
  transfer_id uuid primary key,
  cause_kind  text not null,
  cause_id    text not null,
  booked_at   timestamptz not null default now(),
  unique (cause_kind, cause_id)
);

-- One debit, one credit, one currency, one positive amount: a one-sided booking can't be written.
-- `xid` lets the fold take exactly what has become visible; amounts are wide enough for tokens.
create table postings (
  transfer_id uuid not null references transfers,
  line        integer not null,
  currency    text not null,
  debit       bigint not null,
  credit      bigint not null,
  amount      numeric(78, 0) not null check (amount > 0),
  xid         xid8 not null default pg_current_xact_id(),
  primary key (transfer_id, line),
  check (debit <> credit),
  foreign key (debit, currency) references ledger_accounts (ledger_account_id, currency),
  foreign key (credit, currency) references ledger_accounts (ledger_account_id, currency)
);
create index postings_xid on postings (xid);
create index postings_debit on postings (debit, xid);
create index postings_credit on postings (credit, xid);

-- Postings below the watermark, added up per account. A balance is its fold and the tail.
create table folds (
  ledger_account_id bigint primary key references ledger_accounts,
  debited           numeric(78, 0) not null,
  credited          numeric(78, 0) not null
);
create table fold_watermark (
  one boolean primary key default true check (one),
  xid xid8 not null
);
insert into fold_watermark (xid) values ('0');

-- One row per settled request, in daily partitions by the time inside the UUIDv7. The id is the whole
-- key: a key of id and time would let a duplicate into another partition.
create table usage (
  request_id            uuid not null,
  account_id            uuid not null,
  project_id            uuid not null,
  key_id                uuid not null,
  lease_id              uuid,
  key_lease_id          uuid,
  project_lease_id      uuid,
  organization_lease_id uuid,
  flush_id              uuid not null,
  outcome               text not null,
  hold_nano_usd         bigint not null check (hold_nano_usd >= 0),
  charge_nano_usd       bigint not null check (charge_nano_usd >= 0),
  clamped_nano_usd      bigint not null default 0 check (clamped_nano_usd >= 0),
  model                 text not null,
  prompt                bigint not null check (prompt >= 0),
  cached_prompt         bigint not null check (cached_prompt >= 0),
  cache_write           bigint not null check (cache_write >= 0),
  completion            bigint not null check (completion >= 0),
  internal_reasoning    bigint not null check (internal_reasoning >= 0),
  requests              bigint not null check (requests >= 0),
  streamed              boolean not null,
  finish_reason         text,
  native_finish_reason  text,
  received_at           timestamptz not null,
  first_output_at       timestamptz,
  finished_at           timestamptz not null,
  settled_at            timestamptz not null,
  xid                   xid8 not null default pg_current_xact_id(),
  primary key (request_id),
  check (charge_nano_usd <= hold_nano_usd)
) partition by range (request_id);
create index usage_xid on usage (xid);

-- One row per dispatch, failed ones too.
create table attempts (
  attempt_id         uuid not null,
  request_id         uuid not null,
  position           integer not null,
  provider_id        uuid not null,
  node_id            uuid not null,
  offer_id           uuid not null,
  price_version      integer not null,
  outcome            text not null,
  cost_kind          text not null check (cost_kind in ('provider_cost', 'fault_cost', 'audit_cost')),
  earn_nano_usd      bigint not null check (earn_nano_usd >= 0),
  reread_nano_usd    bigint not null check (reread_nano_usd >= 0),
  counted_by         text not null check (counted_by in ('upstream', 'gateway')),
  prompt             bigint not null check (prompt >= 0),
  cached_prompt      bigint not null check (cached_prompt >= 0),
  cache_write        bigint not null check (cache_write >= 0),
  completion         bigint not null check (completion >= 0),
  internal_reasoning bigint not null check (internal_reasoning >= 0),
  requests           bigint not null check (requests >= 0),
  reread             bigint not null check (reread >= 0),
  status             integer,
  error_code         text,
  started_at         timestamptz not null,
  first_output_at    timestamptz,
  finished_at        timestamptz not null,
  flush_id           uuid not null,
  xid                xid8 not null default pg_current_xact_id(),
  primary key (attempt_id)
) partition by range (attempt_id);
create index attempts_request on attempts (request_id);
create index attempts_provider on attempts (provider_id, attempt_id);

-- What a node signed about one attempt, kept as it came beside the gateway's own count.
create table usage_reports (
  attempt_id         uuid not null,
  request_id         uuid not null,
  provider_id        uuid not null,
  node_id            uuid not null,
  offer_id           uuid not null,
  price_version      integer not null,
  prompt             bigint not null check (prompt >= 0),
  cached_prompt      bigint not null check (cached_prompt >= 0),
  cache_write        bigint not null check (cache_write >= 0),
  completion         bigint not null check (completion >= 0),
  internal_reasoning bigint not null check (internal_reasoning >= 0),
  requests           bigint not null check (requests >= 0),
  signed             jsonb not null,
  received_at        timestamptz not null default now(),
  primary key (attempt_id)
) partition by range (attempt_id);

-- Rows the books refused. They wait for a person and never hold up the money of others.
create table settle_quarantine (
  request_id  uuid primary key,
  account_id  uuid not null,
  row         jsonb not null,
  error       text not null,
  parked_at   timestamptz not null default now(),
  resolved_at timestamptz
);

-- Settled usage below the fold's watermark, per hour: what key, project and cost views add up.
create table usage_hours (
  hour               timestamptz not null,
  account_id         uuid not null,
  project_id         uuid not null,
  key_id             uuid not null,
  model              text not null,
  requests           bigint not null,
  prompt             bigint not null,
  cached_prompt      bigint not null,
  cache_write        bigint not null,
  completion         bigint not null,
  internal_reasoning bigint not null,
  charge_nano_usd    bigint not null,
  primary key (hour, account_id, project_id, key_id, model)
);
create index usage_hours_account on usage_hours (account_id, hour);
create index usage_hours_key on usage_hours (key_id, hour);

-- Posted prices, for ever: any past charge can be computed again as counts × version.
create table prices (
  offer_id                uuid not null,
  price_version           integer not null check (price_version > 0),
  model                   text not null,
  effective_at            timestamptz not null,
  posted_at               timestamptz not null,
  take_bps                integer not null check (take_bps between 0 and 10000),
  prompt                  bigint not null check (prompt >= 0),
  cached_prompt           bigint check (cached_prompt >= 0),
  cache_write             bigint check (cache_write >= 0),
  completion              bigint not null check (completion >= 0),
  internal_reasoning      bigint check (internal_reasoning >= 0),
  request                 bigint not null check (request >= 0),
  user_prompt             bigint not null check (user_prompt >= prompt),
  user_cached_prompt      bigint check (user_cached_prompt >= cached_prompt),
  user_cache_write        bigint check (user_cache_write >= cache_write),
  user_completion         bigint not null check (user_completion >= completion),
  user_internal_reasoning bigint check (user_internal_reasoning >= internal_reasoning),
  user_request            bigint not null check (user_request >= request),
  xid                     xid8 not null default pg_current_xact_id(),
  primary key (offer_id, price_version)
);
create index prices_xid on prices (xid);

-- The platform's share of a model's price, in basis points, from a time on.
create table take_rates (
  model        text not null,
  effective_at timestamptz not null,
  take_bps     integer not null check (take_bps between 0 and 10000),
  primary key (model, effective_at)
);

do $$
declare t text;
begin
  foreach t in array array['transfers', 'postings', 'usage', 'attempts', 'usage_reports', 'prices', 'take_rates'] loop
    execute format('create trigger insert_only before update or delete on %I for each row execute function refuse_change()', t);
    execute format('create trigger insert_only_truncate before truncate on %I for each statement execute function refuse_change()', t);
  end loop;
end $$;

-- The platform's own accounts exist from the start; those of organizations and providers come with them.
insert into ledger_accounts (kind, currency)
select kind, 'USD' from unnest(array[
  'revenue', 'provider_cost', 'fault_cost', 'audit_cost', 'promo_expense', 'goodwill_expense', 'bad_debt']) kind;
