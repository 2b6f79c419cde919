-- Credit bought by card: what was asked of the card processor, what it told us, and what came of both.
-- Every call that changes something over there is written down before it is made, under the key it is made
-- with, so it can be repeated; everything told is stored before it is believed.

alter table grants drop constraint grants_kind_check;
alter table grants add constraint grants_kind_check check (kind in ('promo', 'goodwill', 'card'));
-- What went back to the card.
alter table grants add column refunded_nano_usd bigint not null default 0 check (refunded_nano_usd >= 0);
alter table grants add check (remaining_nano_usd + expired_nano_usd + refunded_nano_usd <= amount_nano_usd);
-- A payment becomes credit once, whoever's account it is for.
create unique index grants_payment on grants (cause) where kind = 'card';

-- The processor's name for an account.
create table stripe_customers (
  account_id  uuid primary key references accounts,
  customer_id text not null unique,
  created_at  timestamptz not null
);

-- Credit an organization wants to buy. The tax comes on top, and is known once a session is open.
create table topups (
  topup_id        uuid primary key,
  account_id      uuid not null references accounts,
  amount_nano_usd bigint not null check (amount_nano_usd > 0 and amount_nano_usd % 10000000 = 0),
  tax_nano_usd    bigint not null default 0 check (tax_nano_usd >= 0 and tax_nano_usd % 10000000 = 0),
  state           text not null check (state in ('opening', 'open', 'paid', 'expired', 'refused')),
  is_first        boolean not null,
  return_url      text,
  session_id      text unique,
  checkout_url    text,
  payment_intent  text unique,
  receipt_url     text,
  invoice_url     text,
  invoice_pdf     text,
  created_at      timestamptz not null,
  expires_at      timestamptz not null,
  paid_at         timestamptz,
  check (state <> 'open' or session_id is not null),
  check (state <> 'paid' or (payment_intent is not null and paid_at is not null))
);
create index topups_account on topups (account_id, topup_id);
-- Two browsers open one session.
create unique index topups_unfinished on topups (account_id) where state in ('opening', 'open');

-- Calls that change something at the processor, by the key they are made with.
create table stripe_calls (
  key         text primary key,
  purpose     text not null,
  subject     uuid not null,
  attempt     integer not null check (attempt > 0),
  parameters  text not null,
  state       text not null default 'open' check (state in ('open', 'done', 'refused', 'lapsed')),
  tries       integer not null default 0,
  -- The last server errors in a row: after some of the same, only a look tells what was done.
  equal_errors integer not null default 0,
  object_id   text,
  error       text,
  created_at  timestamptz not null,
  tried_at    timestamptz,
  unique (purpose, subject, attempt),
  check (state <> 'done' or object_id is not null)
);
create index stripe_calls_open on stripe_calls (created_at) where state = 'open';

-- Credit on its way back to a card: taken from the account first, then asked for.
create table refund_intents (
  refund_intent_id uuid primary key,
  account_id       uuid not null references accounts,
  topup_id         uuid not null references topups,
  grant_id         uuid not null references grants,
  credit_nano_usd  bigint not null check (credit_nano_usd >= 0),
  tax_nano_usd     bigint not null check (tax_nano_usd >= 0),
  -- Of it what the account did not have any more: a debt.
  owed_nano_usd    bigint not null default 0 check (owed_nano_usd between 0 and credit_nano_usd),
  state            text not null check (state in ('open', 'sent', 'succeeded', 'failed', 'refused')),
  refund_id        text unique,
  created_at       timestamptz not null,
  finished_at      timestamptz,
  check (credit_nano_usd + tax_nano_usd > 0 and (credit_nano_usd + tax_nano_usd) % 10000000 = 0),
  check (state not in ('sent', 'succeeded', 'failed') or refund_id is not null)
);
create index refund_intents_account on refund_intents (account_id, refund_intent_id);
create index refund_intents_topup on refund_intents (topup_id);
create index refund_intents_open on refund_intents (created_at) where state = 'open';

-- What the processor told, as it came. Only told apart here; what it means is asked back.
create table stripe_events (
  event_id    text primary key,
  kind        text not null,
  object_id   text,
  body        text not null,
  received_at timestamptz not null,
  attempts    integer not null default 0,
  -- When it is to be worked on; null once it was, or was given up.
  due_at      timestamptz,
  outcome     text check (outcome in ('applied', 'ignored', 'parked')),
  error       text,
  check ((due_at is null) = (outcome is not null))
);
create index stripe_events_due on stripe_events (due_at) where due_at is not null;
