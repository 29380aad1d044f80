DROP TABLE peppers, audit_events, change_log, revision_counter, budget_periods, budgets, key_usage,
    key_digests, key_secrets, api_keys, owners;
