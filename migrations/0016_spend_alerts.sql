-- Parts of spend limits that were reached: each is told once per window, however often it is looked.

create table spend_alerts (
  budget_id         uuid not null,
  starts_at         timestamptz not null,
  threshold_percent smallint not null check (threshold_percent between 1 and 100),
  account_id        uuid not null,
  -- As they were when it was noticed.
  limit_nano_usd    bigint not null check (limit_nano_usd > 0),
  spent_nano_usd    bigint not null check (spent_nano_usd >= 0),
  noticed_at        timestamptz not null default now(),
  -- The fact it became, in the transaction that wrote that to the outbox.
  event_id          uuid unique,
  primary key (budget_id, starts_at, threshold_percent),
  foreign key (budget_id, starts_at) references budget_windows,
  check (spent_nano_usd::numeric * 100 >= limit_nano_usd::numeric * threshold_percent)
);
create index spend_alerts_untold on spend_alerts (noticed_at) where event_id is null;
