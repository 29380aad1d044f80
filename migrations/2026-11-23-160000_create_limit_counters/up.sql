-- Rate limits: what counts of each limited key and owner. A row is made by the first limited request of its subject, and
-- changed only under its lock.
CREATE TABLE limit_counters (
    -- 0: a key, 1: an owner.
    kind       smallint NOT NULL CHECK (kind IN (0, 1)),
    subject_id bigint NOT NULL,
    -- Microseconds since 1970. Never goes back, whatever the clock does.
    row_time   bigint NOT NULL DEFAULT 0,
    -- One more whenever a limit is added that was not counted before.
    generation bigint NOT NULL DEFAULT 0,
    -- By limit and sub-bucket: src/limits/codec.rs.
    counters   bytea NOT NULL DEFAULT '',
    PRIMARY KEY (kind, subject_id)
    -- A row in use is changed about once a second by each replica: room for that beside it, so that no index is.
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.05);
