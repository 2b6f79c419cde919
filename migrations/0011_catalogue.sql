-- What users are shown of their choice and of its outcome: how offers fared minute by minute, and how a request
-- was placed.

-- The fold reads attempts by the transaction that wrote them, as it reads usage.
create index attempts_xid on attempts (xid);

-- Only minutes in which an attempt counted have a row; those older than a day are dropped.
create table offer_minutes (
  offer_id uuid not null,
  minute   timestamptz not null,
  -- Whole answers, and failures that were the node's. What was the user's doing is in neither.
  good     bigint not null check (good >= 0),
  bad      bigint not null check (bad >= 0),
  primary key (offer_id, minute)
);
create index offer_minutes_age on offer_minutes (minute);

-- The tier that applied; nothing is known of requests settled before this was kept.
alter table usage
  add column service_tier text check (service_tier in ('flex', 'default', 'priority')),
  -- What was considered, for those who asked for it with the request.
  add column routing jsonb;
