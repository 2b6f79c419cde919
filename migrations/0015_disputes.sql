-- What cardholders and their banks take back: disputes, warnings that one may come, and every line of the card
-- processor's own account, beside the transfer it stands for.

-- What disputes have frozen of a grant, or taken for good.
alter table grants add column disputed_nano_usd bigint not null default 0 check (disputed_nano_usd >= 0);
alter table grants add check (
  remaining_nano_usd + expired_nano_usd + refunded_nano_usd + disputed_nano_usd <= amount_nano_usd);

-- The processor's name for the charge that paid a top-up: its lines name charges.
alter table topups add column charge_id text unique;

-- Payments a cardholder wants back, by the processor's name for each.
create table disputes (
  dispute_id          text primary key,
  account_id          uuid not null references accounts,
  topup_id            uuid not null references topups,
  grant_id            uuid not null references grants,
  state               text not null check (state in ('inquiry', 'closed', 'open', 'lost', 'won')),
  reason              text not null,
  amount_nano_usd     bigint not null check (amount_nano_usd > 0),
  -- Of it, credit; the rest was tax.
  credit_nano_usd     bigint not null check (credit_nano_usd between 0 and amount_nano_usd),
  -- What the bank took, and what of it came back.
  withdrawn_nano_usd  bigint not null default 0 check (withdrawn_nano_usd >= 0),
  reinstated_nano_usd bigint not null default 0 check (reinstated_nano_usd >= 0),
  -- Credit out of the account's reach until the bank has decided, and credit taken for good.
  frozen_nano_usd     bigint not null default 0 check (frozen_nano_usd >= 0),
  taken_nano_usd      bigint not null default 0 check (taken_nano_usd >= 0),
  -- What the platform carries.
  lost_nano_usd       bigint not null default 0 check (lost_nano_usd >= 0),
  is_refundable       boolean not null,
  -- Evidence is taken until then.
  due_at              timestamptz,
  opened_at           timestamptz not null,
  suspended_at        timestamptz,
  closed_at           timestamptz,
  check (frozen_nano_usd + taken_nano_usd <= credit_nano_usd),
  check (taken_nano_usd + lost_nano_usd <= withdrawn_nano_usd - reinstated_nano_usd),
  check (frozen_nano_usd = 0 or state = 'open'),
  check ((closed_at is null) = (state in ('inquiry', 'open')))
);
create index disputes_account on disputes (account_id);
create index disputes_topup on disputes (topup_id);
create index disputes_grant on disputes (grant_id);
create index disputes_open on disputes (dispute_id) where state = 'open';

-- What a card's issuer holds for fraud, and what was done about it, both in one transaction.
create table fraud_warnings (
  warning_id        text primary key,
  account_id        uuid not null references accounts,
  topup_id          uuid not null references topups,
  kind              text not null,
  is_actionable     boolean not null,
  refunded_nano_usd bigint not null check (refunded_nano_usd >= 0),
  is_suspended      boolean not null,
  warned_at         timestamptz not null,
  seen_at           timestamptz not null
);
create index fraud_warnings_topup on fraud_warnings (topup_id);

-- The processor's own account, line by line. A line stands for one transfer and a transfer for one line.
create table stripe_balance_txns (
  txn_id       text primary key,
  kind         text not null,
  category     text not null,
  source       text,
  currency     text not null,
  amount_cents bigint not null,
  fee_cents    bigint not null,
  created_at   timestamptz not null,
  cause_kind   text,
  cause_id     text,
  -- When its transfer is looked for next; null once it is found.
  look_at      timestamptz,
  unique (cause_kind, cause_id),
  foreign key (cause_kind, cause_id) references transfers (cause_kind, cause_id),
  check ((cause_kind is null) = (cause_id is null)),
  check ((cause_kind is null) = (look_at is not null))
);
create index stripe_balance_txns_open on stripe_balance_txns (look_at) where look_at is not null;
create index stripe_balance_txns_created on stripe_balance_txns (created_at);
-- Every line created before this was read.
create table stripe_balance_cursor (
  one  boolean primary key default true check (one),
  upto timestamptz not null
);

-- An event a person has dealt with otherwise, and how.
alter table stripe_events drop constraint stripe_events_outcome_check;
alter table stripe_events add constraint stripe_events_outcome_check
  check (outcome in ('applied', 'ignored', 'parked', 'resolved'));
alter table stripe_events add column resolution text;
alter table stripe_events add check ((outcome is not distinct from 'resolved') = (resolution is not null));
