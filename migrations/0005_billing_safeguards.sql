-- What keeping the books for a while has taught: occasions belong to the account they gave to, a window says
-- when it took its limit, partitions refuse to be emptied, parked rows say what became of them, and what nodes
-- reported is judged.

-- The name of an occasion is the operator's, and two organizations may well have the same one.
alter table grants drop constraint grants_kind_cause_key;
alter table grants add constraint grants_occasion unique (account_id, kind, cause);

-- When the limit of a window was taken from its budget: one taken after the budget was last set must equal it.
-- Of windows opened before this column nothing is known.
alter table budget_windows add column limit_at timestamptz not null default '-infinity';
alter table budget_windows alter column limit_at set default now();

-- Attaching a partition copies its parent's row triggers, not those of statements.
do $$
declare partition regclass;
begin
  for partition in
    select inhrelid::regclass from pg_inherits
     where inhparent in ('usage'::regclass, 'attempts'::regclass, 'usage_reports'::regclass)
  loop
    execute format('create trigger insert_only_truncate before truncate on %s for each statement execute function refuse_change()', partition);
  end loop;
end $$;

-- What became of a parked row.
alter table settle_quarantine
  add column resolution text check (resolution in ('replayed', 'discarded')),
  add check (resolution is null or resolved_at is not null);

-- Attempts up to here were compared with what their nodes reported.
create table report_cursor (
  one  boolean primary key default true check (one),
  upto uuid not null
);
insert into report_cursor (upto) values ('00000000-0000-0000-0000-000000000000');

-- Per provider and UTC day: answers given, those whose report is too far from the gateway's count, and those
-- nobody signed for.
create table report_days (
  provider_id uuid not null,
  day         date not null,
  attempts    bigint not null,
  apart       bigint not null,
  unsigned    bigint not null,
  primary key (provider_id, day),
  check (apart + unsigned <= attempts)
);

-- The attempts that were too far apart, for a person to look at.
create table report_flags (
  attempt_id     uuid primary key,
  provider_id    uuid not null,
  apart_permille bigint not null check (apart_permille > 0),
  flagged_at     timestamptz not null
);
create index report_flags_provider on report_flags (provider_id, attempt_id);
