-- Whom to tell of what happened: URLs of organizations and providers, and what each is still to be told.

create table webhook_endpoints (
  endpoint_id     uuid primary key,
  organization_id uuid references organizations,
  provider_id     uuid,
  url             text not null check (length(url) between 1 and 2048),
  description     text not null,
  -- Types it is told of; empty for all that concern its owner.
  events          text[] not null,
  -- What deliveries are signed with. In the clear: a signature can't be made from a hash.
  secret          bytea not null check (length(secret) = 32),
  -- The one before, which signs as well until its owner has changed over.
  former_secret   bytea check (length(former_secret) = 32),
  former_until    timestamptz,
  created_at      timestamptz not null,
  -- The first of the failures since which nothing was taken.
  failing_since   timestamptz,
  disabled_at     timestamptz,
  -- One replica at a time delivers to it, in order; over when that one died.
  claimed_until   timestamptz,
  check ((organization_id is null) <> (provider_id is null)),
  check ((former_secret is null) = (former_until is null))
);
create index webhook_endpoints_organization on webhook_endpoints (organization_id) where organization_id is not null;
create index webhook_endpoints_provider on webhook_endpoints (provider_id) where provider_id is not null;

-- One event for one endpoint. The number is the order they happened in.
create table webhook_deliveries (
  delivery_id  bigint generated always as identity primary key,
  endpoint_id  uuid not null references webhook_endpoints on delete cascade,
  event_id     uuid not null,
  -- The very bytes that are sent, each time the same.
  body         text not null,
  created_at   timestamptz not null,
  attempts     integer not null default 0,
  -- When it is due; null once it was taken or given up.
  next_at      timestamptz,
  delivered_at timestamptz,
  -- What the last attempt was answered; null for no answer.
  last_status  integer,
  unique (endpoint_id, event_id),
  check (delivered_at is null or next_at is null)
);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_at) where next_at is not null;
create index webhook_deliveries_age on webhook_deliveries (created_at);
