-- Who supplies what: providers, their machines, and the models they offer at a price. Placement reads
-- all of it into memory and is told of changes through the channel steelyard_pool. Prices are copied
-- here from the price book in the transaction that posts them, so one read gives a whole picture.

create table providers (
    provider_id        uuid primary key,
    slug               text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    name               text not null check (name <> ''),
    contact_email      text not null,
    country            text not null,
    website            text,
    privacy_policy_url text,
    terms_version      text not null,
    payout_account     text not null,
    receipt_address    text not null check (receipt_address ~ '^0x[0-9a-fA-F]{40}$'),
    state              text not null default 'pending' check (state in ('pending', 'active', 'suspended', 'closed')),
    created_at         timestamptz not null
);

create table nodes (
    node_id        uuid primary key,
    provider_id    uuid not null references providers,
    -- One key is one machine: joining again with it returns the node already made.
    public_key     bytea not null unique check (octet_length(public_key) = 32),
    mode           text not null check (mode in ('tunnel', 'direct')),
    base_url       text,
    upstream_key   text,
    hardware       jsonb not null,
    location       jsonb not null,
    engine         jsonb not null,
    privacy        jsonb not null,
    trust          text not null default 'declared' check (trust in ('declared', 'measured', 'audited', 'attested')),
    state          text not null default 'pending'
        check (state in ('pending', 'verifying', 'ready', 'degraded', 'draining', 'offline', 'quarantined')),
    offers_version bigint not null default 0,
    last_seen_at   timestamptz,
    heartbeat_seq  bigint not null default 0 check (heartbeat_seq >= 0),
    created_at     timestamptz not null,
    check (mode = 'tunnel' or base_url is not null)
);

create index nodes_provider on nodes (provider_id);

create table offers (
    offer_id           uuid primary key,
    node_id            uuid not null references nodes on delete cascade,
    model              text not null check (model <> ''),
    spec               jsonb not null,
    state              text not null default 'staged' check (state in ('staged', 'active', 'degraded', 'paused', 'retired')),
    -- What users pay, by class, from effective_at on. All of one version or none.
    price_version      integer check (price_version > 0),
    price              jsonb,
    price_at           timestamptz,
    next_price_version integer check (next_price_version > price_version),
    next_price         jsonb,
    next_price_at      timestamptz,
    created_at         timestamptz not null,
    -- An offer keeps its id while node and model stay the same.
    unique (node_id, model),
    check ((price_version is null) = (price is null) and (price is null) = (price_at is null)),
    check ((next_price_version is null) = (next_price is null) and (next_price is null) = (next_price_at is null)),
    check (next_price is null or price is not null)
);

create index offers_model on offers (model) where state <> 'retired';
