DROP INDEX key_usage_by_minute_of_last_use;
ALTER TABLE key_usage DROP COLUMN last_used_minute;
CREATE INDEX key_usage_by_last_use ON key_usage ((coalesce(last_used_at, '-infinity')), key_id);
