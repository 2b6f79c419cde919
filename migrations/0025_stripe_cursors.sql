-- How far each list of the card processor has been read: every entry created before this was.
create table stripe_cursors (
  list text primary key check (list in ('balance_transactions', 'events')),
  upto timestamptz not null
);
insert into stripe_cursors (list, upto) select 'balance_transactions', upto from stripe_balance_cursor;
-- Replicas of the version before still read stripe_balance_cursor while they are replaced, so it stays for now.
