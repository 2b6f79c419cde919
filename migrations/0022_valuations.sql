-- What coins were worth at the end of each month. Coins are bought for dollars and cross from one currency to the other
-- through a position; what it is worth more or less than it stands at is a gain or a loss of that month, and the gas spent
-- since becomes an expense in dollars.

-- One standing valuation for each month and coin. One that was taken back stays, and the next has another round.
create table valuations (
  month          text not null check (month ~ '^\d{4}-\d{2}$'),
  currency       text not null check (currency <> 'USD'),
  round          integer not null check (round >= 0),
  price          jsonb not null,
  -- In the coin's smallest unit: what is held and not owed, below zero when more is owed than held.
  position       numeric(79, 0) not null,
  -- Gas spent since the valuation before, in the smallest unit and in dollars.
  spent          numeric(78, 0) not null check (spent >= 0),
  spent_nano_usd bigint not null check (spent_nano_usd >= 0),
  -- What the position stood at in dollars, gas included, and what it is worth without.
  cost_nano_usd  bigint not null,
  worth_nano_usd bigint not null,
  valued_at      timestamptz not null,
  undone_at      timestamptz check (undone_at >= valued_at),
  primary key (month, currency, round)
);
create unique index valuations_standing on valuations (month, currency) where undone_at is null;
