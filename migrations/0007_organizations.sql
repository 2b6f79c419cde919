-- What an organization's admin keeps: projects that were closed, accounts for programs, keys that rest, which
-- models a project may ask for, how fast, and who changed what in which project.

-- A project is never deleted: bills name it. The default one takes what names no other, so it stays.
alter table projects
  add column archived_at timestamptz,
  add check (archived_at is null or not is_default);

-- A program that holds keys of its own, so that they can be told apart and stopped together.
create table service_accounts (
  service_account_id uuid primary key,
  organization_id    uuid not null,
  project_id         uuid not null,
  name               text not null check (length(name) between 1 and 200),
  created_at         timestamptz not null,
  deleted_at         timestamptz,
  -- What a key's foreign key points at: a service account's keys are of its own project.
  unique (service_account_id, project_id),
  foreign key (project_id, organization_id) references projects (project_id, organization_id)
);
create index service_accounts_of on service_accounts (project_id) where deleted_at is null;

-- A disabled key does not count until it is enabled again; a revoked one never does.
alter table api_keys
  add column service_account_id uuid,
  add column disabled_at timestamptz,
  add foreign key (service_account_id, project_id) references service_accounts (service_account_id, project_id),
  add check (service_account_id is null or kind = 'inference');
create index api_keys_service_account on api_keys (service_account_id) where service_account_id is not null;

-- Which models a project's keys may ask for. No row: all of them.
create table model_permissions (
  project_id uuid primary key references projects,
  mode       text not null check (mode in ('allow_list', 'deny_list')),
  models     text[] not null check (cardinality(models) <= 1000)
);

-- How much may be asked for at a time. '*' stands for all models together; a null does not bind.
create table rate_limits (
  scope_kind              text not null check (scope_kind in ('organization', 'project', 'key')),
  scope_id                uuid not null,
  model                   text not null check (length(model) between 1 and 200),
  max_requests_per_minute bigint check (max_requests_per_minute > 0),
  max_tokens_per_minute   bigint check (max_tokens_per_minute > 0),
  max_concurrency         bigint check (max_concurrency > 0),
  primary key (scope_kind, scope_id, model),
  check (num_nonnulls(max_requests_per_minute, max_tokens_per_minute, max_concurrency) > 0)
);

alter table audit_events add column project_id uuid;
-- Lists go by id, which is as old as the event.
create index audit_events_listed on audit_events (organization_id, event_id) where organization_id is not null;

-- What one account used within minutes, where hourly sums are too coarse.
create index usage_account on usage (account_id, request_id);
