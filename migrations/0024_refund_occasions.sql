-- What tells a wish for a refund when it is repeated, as by a client that never heard what came of it.
alter table refund_intents add column occasion bytea;
create index refund_intents_occasion on refund_intents (account_id, occasion) where occasion is not null;
