-- Cards kept for charges nobody is asked about, the rule that makes such charges, and what moved an account's
-- credit, for its owner to read. Of a card only what its owner knows it by is kept; its number stays with the
-- processor.

-- Pages where a card is saved without anything being bought.
create table card_setups (
  setup_id   uuid primary key,
  account_id uuid not null references accounts,
  state      text not null check (state in ('opening', 'open', 'saved', 'expired', 'refused')),
  return_url text,
  session_id text unique,
  setup_url  text,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  check (state <> 'open' or session_id is not null)
);
create index card_setups_account on card_setups (account_id, created_at);
create index card_setups_unfinished on card_setups (created_at) where state in ('opening', 'open');

-- Saved cards, by the processor's names for them.
create table cards (
  card_id    uuid primary key,
  account_id uuid not null references accounts,
  method_id  text not null unique,
  brand      text not null,
  last4      text not null check (last4 ~ '^[0-9]{4}$'),
  exp_month  integer not null check (exp_month between 1 and 12),
  exp_year   integer not null,
  -- A card saved again with a later payment: the first stands for both, and they leave together.
  same_as    uuid references cards,
  is_default boolean not null default false,
  state      text not null default 'saved' check (state in ('saved', 'leaving', 'gone')),
  saved_at   timestamptz not null,
  check (not is_default or (state = 'saved' and same_as is null))
);
create index cards_account on cards (account_id, card_id);
create unique index cards_default on cards (account_id) where is_default;
create index cards_leaving on cards (card_id) where state = 'leaving';

-- A top-up with a card is charged to it, nobody being asked; one without is paid at a page.
alter table topups add column card_id uuid references cards;
alter table topups add column decline_code text;
-- What tax it was worked out to carry, and where that is recorded once it is paid.
alter table topups add column tax_calculation text;
alter table topups add column tax_transaction text;
alter table topups drop constraint topups_check;
alter table topups add constraint topups_open
  check (state <> 'open' or session_id is not null or payment_intent is not null);
-- Two browsers open one session, and however often a charge is called for, it is made once.
drop index topups_unfinished;
create unique index topups_unfinished on topups (account_id, (card_id is null)) where state in ('opening', 'open');
create index topups_untaxed on topups (topup_id)
  where state = 'paid' and tax_calculation is not null and tax_transaction is null;

-- When an account's card is charged by itself, and for how much.
create table recharge_rules (
  account_id           uuid primary key references accounts,
  threshold_nano_usd   bigint not null check (threshold_nano_usd > 0),
  amount_nano_usd      bigint not null check (amount_nano_usd > 0 and amount_nano_usd % 10000000 = 0),
  daily_cap_nano_usd   bigint not null check (daily_cap_nano_usd >= amount_nano_usd),
  monthly_cap_nano_usd bigint not null check (monthly_cap_nano_usd >= daily_cap_nano_usd),
  card_id              uuid not null references cards,
  -- Why it does not act any more.
  stopped              text check (stopped in ('authentication_required', 'declined', 'card_removed')),
  -- Declines in a row, the last one's code, and until when nothing is tried.
  declines             integer not null default 0 check (declines >= 0),
  decline_code         text,
  retry_at             timestamptz,
  set_at               timestamptz not null
);
create index recharge_rules_acting on recharge_rules (account_id) where stopped is null;

-- When the maker of a UUIDv7 made it.
create function minted_at(id uuid) returns timestamptz language sql immutable parallel safe as
  $$ select to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0) $$;

-- Everything that moves credit but usage: what came, and below zero what went.
create view credit_lines as
  select own.owner as account_id, p.transfer_id, p.line, -p.amount as amount, other.kind as other, p.xid
    from ledger_accounts own
    join postings p on p.debit = own.ledger_account_id
    join ledger_accounts other on other.ledger_account_id = p.credit
   where own.kind = 'credits' and other.kind <> 'revenue'
  union all
  select own.owner, p.transfer_id, p.line, p.amount, other.kind, p.xid
    from ledger_accounts own
    join postings p on p.credit = own.ledger_account_id
    join ledger_accounts other on other.ledger_account_id = p.debit
   where own.kind = 'credits' and other.kind <> 'revenue';

-- Those below the fold's watermark. An account that is busy has millions of postings of usage, and few others.
create table credit_moves (
  account_id      uuid not null,
  transfer_id     uuid not null references transfers,
  line            integer not null,
  amount_nano_usd bigint not null check (amount_nano_usd <> 0),
  other           text not null,
  primary key (account_id, transfer_id, line)
);
insert into credit_moves (account_id, transfer_id, line, amount_nano_usd, other)
select l.account_id, l.transfer_id, l.line, l.amount, l.other from credit_lines l, fold_watermark w where l.xid < w.xid;
