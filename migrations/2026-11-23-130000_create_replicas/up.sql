-- Replicas that decide from memory: which there are, and how far each has followed the change log.

CREATE TABLE replicas (
    -- Another one after every start, and after the row was taken away from under a replica.
    replica_id        uuid PRIMARY KEY,
    -- For people: where it answers.
    address           text NOT NULL,
    -- The database that `applied` is of: after a failover, revisions may have been lost and given again.
    system_identifier bigint NOT NULL,
    timeline          bigint NOT NULL CHECK (timeline > 0),
    -- Nothing is decided from state before this revision any more.
    applied           bigint NOT NULL CHECK (applied >= 0),
    -- One more with every sign of life. Who sees the same beat for `staleness_ms` and a tenth more knows that the
    -- replica decides nothing any more, and may take the row away.
    beat              bigint NOT NULL,
    staleness_ms      bigint NOT NULL CHECK (staleness_ms > 0),
    started_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- For people: nothing is decided by it.
    beat_at           timestamptz NOT NULL DEFAULT clock_timestamp()
    -- Each row is changed several times a second: room for that beside it.
) WITH (fillfactor = 20);

-- Whether a token may be known since this change that was unknown before. Older programs do not say so.
ALTER TABLE change_log ADD COLUMN adds_tokens boolean NOT NULL DEFAULT true;
