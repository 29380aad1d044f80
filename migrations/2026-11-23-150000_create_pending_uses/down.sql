-- Nothing of it is lost.
INSERT INTO key_usage AS usage (key_id, authorized_count, last_used_at)
SELECT key_id, sum(count)::bigint, max(last) FROM pending_uses
    CROSS JOIN LATERAL unnest(key_ids, counts, last_used_at) AS uses (key_id, count, last)
    GROUP BY key_id ORDER BY key_id
ON CONFLICT (key_id) DO UPDATE SET
    authorized_count = usage.authorized_count + excluded.authorized_count,
    last_used_at = greatest(usage.last_used_at, excluded.last_used_at);
DROP TABLE pending_uses;
