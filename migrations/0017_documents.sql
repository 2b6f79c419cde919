-- Papers for customers: a statement of each month, a receipt of each payment. What they say depends on booked
-- facts alone, so each can be built again and must come out with the same bytes.

create table documents (
  document_id uuid primary key,
  account_id  uuid not null references accounts,
  kind        text not null check (kind in ('statement', 'receipt')),
  -- Of a statement: `2026-01`, in UTC.
  month       text check (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
  -- Of a receipt.
  topup_id    uuid unique references topups,
  -- Who issued it, as it stands on it.
  issuer      text not null,
  -- How it is laid out: a newer layout builds other bytes of the same facts.
  layout      integer not null,
  issued_at   timestamptz not null,
  pdf         bytea not null,
  pdf_sha256  bytea not null check (pdf_sha256 = sha256(pdf)),
  csv         text not null,
  csv_sha256  bytea not null check (csv_sha256 = sha256(convert_to(csv, 'UTF8'))),
  unique (account_id, month),
  check ((kind = 'statement') = (month is not null)),
  check ((kind = 'receipt') = (topup_id is not null))
);
create index documents_account on documents (account_id, document_id);
create trigger insert_only before update or delete on documents for each row execute function refuse_change();
create trigger insert_only_truncate before truncate on documents for each statement execute function refuse_change();

-- How far the statements of a month are: accounts up to here have theirs, or had nothing to state.
create table statement_months (
  month       text primary key check (month ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
  upto        uuid not null default '00000000-0000-0000-0000-000000000000',
  finished_at timestamptz
);

-- Payments are looked through for those without a receipt.
create index topups_paid on topups (paid_at) where state = 'paid';
