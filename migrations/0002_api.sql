-- Who may ask for what: organizations and their projects, keys, the catalogue of models, how a
-- provider proves its wallet and a node its key, and a record of every change somebody made.

create table organizations (
  organization_id uuid primary key,
  name            text not null check (length(name) between 1 and 200),
  created_at      timestamptz not null
);

-- What an organization's money is spent for. The default one takes what names no other.
create table projects (
  project_id      uuid primary key,
  organization_id uuid not null references organizations,
  name            text not null check (length(name) between 1 and 200),
  is_default      boolean not null default false,
  created_at      timestamptz not null,
  -- A key's project and organization must belong together; this is what its foreign key points at.
  unique (project_id, organization_id)
);
create unique index projects_default on projects (organization_id) where is_default;
create index projects_of on projects (organization_id);

-- Only a key's BLAKE3 digest is here. Limits on spending belong to whoever keeps the money.
create table api_keys (
  key_id          uuid primary key,
  kind            text not null check (kind in ('inference', 'management', 'admin', 'provider')),
  organization_id uuid references organizations,
  project_id      uuid,
  provider_id     uuid,
  name            text not null check (length(name) between 1 and 200),
  digest          bytea not null unique check (length(digest) = 32),
  hint            text not null,
  created_at      timestamptz not null,
  expires_at      timestamptz,
  revoked_at      timestamptz,
  foreign key (project_id, organization_id) references projects (project_id, organization_id),
  check ((kind = 'provider') = (provider_id is not null)),
  check ((kind = 'provider') = (organization_id is null)),
  check ((kind in ('inference', 'management')) = (project_id is not null))
);
create index api_keys_project on api_keys (project_id, created_at) where project_id is not null;
create index api_keys_organization on api_keys (organization_id) where organization_id is not null;
create index api_keys_provider on api_keys (provider_id) where provider_id is not null;

-- What text is counted with. Named by its content, so that models of one family share one row.
create table tokenizers (
  digest bytea primary key check (length(digest) = 32),
  kind   text not null check (kind in ('artifact', 'tiktoken')),
  -- Vocabulary and chat template in one document, or the name of a published vocabulary that is built in.
  data   bytea not null check (length(data) between 1 and 67108864)
);

-- Models the operator lets providers offer.
create table models (
  model_id         text primary key check (length(model_id) between 1 and 200),
  name             text not null,
  description      text not null default '',
  context_length   integer not null check (context_length > 0),
  hugging_face_id  text,
  tokenizer_digest bytea references tokenizers,
  created_at       timestamptz not null
);

-- Texts to be signed once by a provider's wallet. One that was used, or is old, proves nothing.
create table challenges (
  challenge_id uuid primary key,
  provider_id  uuid not null,
  purpose      text not null check (purpose in ('register', 'key_rotation')),
  message      text not null,
  created_at   timestamptz not null,
  expires_at   timestamptz not null,
  used_at      timestamptz
);
create index challenges_provider on challenges (provider_id, created_at);

-- Sessions of nodes, by digest of their token. A row outlives the half minute in which its signed
-- nonce could be sent again, so the unique constraint is what makes a nonce single use.
create table node_sessions (
  digest      bytea primary key check (length(digest) = 32),
  node_id     uuid not null,
  provider_id uuid not null,
  nonce       text not null check (length(nonce) between 16 and 64),
  opened_at   timestamptz not null,
  expires_at  timestamptz not null,
  unique (node_id, nonce)
);
create index node_sessions_provider on node_sessions (provider_id);
create index node_sessions_expiry on node_sessions (expires_at);

-- What a provider has told its node to do. A drain stands until it is taken back, whatever happens to the
-- node in between; a resume until the node has taken it.
create table node_orders (
  node_id     uuid primary key,
  kind        text not null check (kind in ('drain', 'resume')),
  reason      text,
  deadline_at timestamptz,
  given_at    timestamptz not null
);

-- Who changed what. Written in the transaction of the change, and only ever added to.
create table audit_events (
  event_id        uuid primary key,
  at              timestamptz not null,
  actor_kind      text not null check (actor_kind in ('operator', 'key', 'wallet', 'node')),
  actor           text not null,
  action          text not null,
  target          text not null,
  organization_id uuid,
  provider_id     uuid,
  detail          jsonb not null default '{}'
);
create index audit_events_organization on audit_events (organization_id, at) where organization_id is not null;
create index audit_events_provider on audit_events (provider_id, at) where provider_id is not null;

create function keep_audit_events() returns trigger language plpgsql as $$
begin
  raise exception 'audit events are never changed or deleted' using errcode = 'restrict_violation';
end $$;
create trigger audit_events_insert_only before update or delete on audit_events
  for each row execute function keep_audit_events();
create trigger audit_events_insert_only_truncate before truncate on audit_events
  for each statement execute function keep_audit_events();
