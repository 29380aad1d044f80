-- Lists by last use go by the minute of it, so that the counts of a key, written every second, change what is indexed
-- once a minute: PostgreSQL then changes the row alone (a HOT update), and no index.
--
-- The database works the minute out, whoever writes: older programs know `last_used_at` only. It has to be a stored
-- column: an index on an expression of `last_used_at` would rule HOT updates out whenever that changes.
--
-- Adding it writes the table and its indexes anew, two to three seconds for a million keys. Until the migration ends,
-- creating and reading keys waits, and so do the counts; decisions go on. Older programs list by last use without an
-- index from then on: slower, and right.
DROP INDEX key_usage_by_last_use;
ALTER TABLE key_usage ADD COLUMN last_used_minute timestamptz
    GENERATED ALWAYS AS (date_bin('1 minute', last_used_at, timestamptz '0001-01-01 00:00:00Z')) STORED;
CREATE INDEX key_usage_by_minute_of_last_use ON key_usage ((coalesce(last_used_minute, '-infinity')), key_id);
