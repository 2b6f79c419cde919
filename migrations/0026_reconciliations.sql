-- When the books were checked by themselves, and in how many places they differed. Whoever runs a replica sees the newest.
create table reconciliations (
  checked_at  timestamptz primary key,
  checks      integer not null check (checks > 0),
  differences integer not null check (differences >= 0)
);
