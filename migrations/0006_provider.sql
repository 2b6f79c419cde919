-- A short name belongs to whoever first proves a wallet for it: an announcement alone holds nothing, so nobody can
-- keep names from others by announcing them. And a node that was removed stays out until its provider brings it back.

alter table providers drop constraint providers_slug_key;
create unique index providers_slug on providers (slug) where state <> 'pending';
-- Announcements are counted, and dropped when they are old.
create index providers_pending on providers (created_at) where state = 'pending';

-- Set by DELETE, cleared by registering the same key again. The row stays, since receipts name it.
alter table nodes add column removed_at timestamptz;
-- Every replica asks every second who was removed lately, to close tunnels.
create index nodes_removed on nodes (removed_at) where removed_at is not null;
