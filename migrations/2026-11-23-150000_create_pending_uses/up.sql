-- What many keys have used within a second, in one row: written each second, added to `key_usage` by and by, where a key
-- has one row however many of these it is in.
CREATE TABLE pending_uses (
    batch_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of the same length, without NULLs: each position is of one key.
    key_ids bigint[] NOT NULL,
    counts bigint[] NOT NULL,
    last_used_at timestamptz[] NOT NULL,
    CHECK (cardinality(counts) = cardinality(key_ids) AND cardinality(last_used_at) = cardinality(key_ids))
);
-- Compressing what lives for seconds costs more than it saves.
ALTER TABLE pending_uses
    ALTER COLUMN key_ids SET STORAGE EXTERNAL,
    ALTER COLUMN counts SET STORAGE EXTERNAL,
    ALTER COLUMN last_used_at SET STORAGE EXTERNAL;
