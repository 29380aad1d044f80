-- Indexes for lists: what they are filtered and ordered by. Each ends in the id that breaks ties, so that a page
-- starts where the one before ended.

-- Orders of keys. Keys without an expiry come last, names go by code point.
CREATE INDEX api_keys_by_creation ON api_keys (created_at, key_id);
CREATE INDEX api_keys_by_update ON api_keys (updated_at, key_id);
CREATE INDEX api_keys_by_name ON api_keys (display_name COLLATE "C", key_id);
CREATE INDEX api_keys_by_expiry ON api_keys ((coalesce(expire_at, 'infinity')), key_id);

-- Filters of keys.
CREATE INDEX api_keys_by_scope ON api_keys USING gin (scopes);
CREATE INDEX api_keys_by_model ON api_keys USING gin (models);
CREATE INDEX api_keys_of_any_model ON api_keys (key_id) WHERE models IS NULL;
CREATE INDEX api_keys_revoked ON api_keys (key_id) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_keys_deleted ON api_keys (key_id) WHERE deleted_at IS NOT NULL;
CREATE INDEX api_keys_undeleted_by_owner ON api_keys (user_id) WHERE deleted_at IS NULL;

-- All runs of three characters of a name, in lower case: where a name holds a text, it holds the text's runs.
-- (pg_trgm does the same, but is not installed everywhere.)
CREATE FUNCTION name_trigrams(name text) RETURNS text[]
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN ARRAY(SELECT DISTINCT substr(lower(name), start, 3)
                 FROM generate_series(1, length(lower(name)) - 2) AS start);
CREATE INDEX api_keys_by_name_part ON api_keys USING gin (name_trigrams(display_name));

-- Every key has a row of usage, so that keys can be listed by their last use: one that was never used comes
-- first. Deferred, so that whoever inserts the row himself in the same transaction is not in the way.
CREATE FUNCTION insert_key_usage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO key_usage (key_id) VALUES (NEW.key_id) ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER api_keys_have_usage AFTER INSERT ON api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION insert_key_usage();
INSERT INTO key_usage (key_id) SELECT key_id FROM api_keys ON CONFLICT DO NOTHING;
CREATE INDEX key_usage_by_last_use ON key_usage ((coalesce(last_used_at, '-infinity')), key_id);

CREATE INDEX owners_disabled ON owners (user_id) WHERE disabled_at IS NOT NULL;

-- The audit log, newest first under every filter; and the events of plugins.
ALTER TABLE audit_events ADD COLUMN plugin_event jsonb;
DROP INDEX audit_events_by_time;
DROP INDEX audit_events_by_resource;
CREATE INDEX audit_events_by_time ON audit_events (event_at, event_id);
CREATE INDEX audit_events_by_resource ON audit_events (resource, event_at, event_id);
CREATE INDEX audit_events_by_actor ON audit_events (actor, event_at, event_id);
CREATE INDEX audit_events_by_action ON audit_events (action, event_at, event_id);
CREATE INDEX audit_events_by_request ON audit_events (request_id, event_at, event_id) WHERE request_id <> '';
CREATE INDEX audit_events_refused ON audit_events (event_at, event_id) WHERE refused_reason <> '';
CREATE INDEX audit_events_by_plugin ON audit_events ((plugin_event ->> 'plugin_id'), event_at, event_id)
    WHERE plugin_event IS NOT NULL;

-- Old lines are removed by time.
CREATE INDEX change_log_by_time ON change_log (committed_at);
