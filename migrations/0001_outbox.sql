-- Facts one part of the broker tells the others. A row is written in the transaction that made the
-- fact true, so neither can exist without the other; consumers read later, in order, at their own pace.

create table outbox_events (
    -- Order of delivery. Gaps are normal (a rolled-back transaction leaves one).
    seq         bigint generated always as identity primary key,
    -- The writer's own id: repeating an append is harmless.
    event_id    uuid        not null unique,
    body        jsonb       not null check (body ? 'type'),
    recorded_at timestamptz not null
);

-- How far each consumer has come. The row is advanced in the transaction that holds the consumer's
-- effects, and its lock is what keeps two replicas from draining for one consumer at a time.
create table outbox_cursors (
    consumer text   primary key check (consumer <> ''),
    seq      bigint not null default 0 check (seq >= 0)
);
