//! The tables as diesel sees them; `migrations/` is the truth. A test compares the two.

diesel::table! {
    owners (user_id) {
        user_id -> Int8,
        disabled_at -> Nullable<Timestamptz>,
        requests_per_minute -> Nullable<Int8>,
        requests_per_hour -> Nullable<Int8>,
        requests_per_day -> Nullable<Int8>,
        tokens_per_minute -> Nullable<Int8>,
        tokens_per_hour -> Nullable<Int8>,
        tokens_per_day -> Nullable<Int8>,
        revision -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    api_keys (key_id) {
        key_id -> Int8,
        user_id -> Int8,
        display_name -> Text,
        description -> Text,
        tags -> Array<Text>,
        metadata -> Jsonb,
        permissions -> Array<Text>,
        scopes -> Array<Text>,
        models -> Nullable<Array<Text>>,
        endpoints -> Nullable<Array<Text>>,
        ips -> Nullable<Array<Cidr>>,
        chatbots -> Nullable<Array<Text>>,
        observe -> Array<Text>,
        requests_per_minute -> Nullable<Int8>,
        requests_per_hour -> Nullable<Int8>,
        requests_per_day -> Nullable<Int8>,
        tokens_per_minute -> Nullable<Int8>,
        tokens_per_hour -> Nullable<Int8>,
        tokens_per_day -> Nullable<Int8>,
        expire_at -> Nullable<Timestamptz>,
        revoked_at -> Nullable<Timestamptz>,
        revoke_reason -> Text,
        deleted_at -> Nullable<Timestamptz>,
        purge_at -> Nullable<Timestamptz>,
        revision -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    key_secrets (secret_id) {
        secret_id -> Int8,
        key_id -> Int8,
        is_current -> Bool,
        key_prefix -> Text,
        key_hash -> Text,
        imported -> Bool,
        expire_at -> Nullable<Timestamptz>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    key_digests (digest) {
        digest -> Bytea,
        pepper_id -> Text,
        secret_id -> Int8,
    }
}

diesel::table! {
    key_usage (key_id) {
        key_id -> Int8,
        total_requests -> Int8,
        total_tokens -> Int8,
        total_cost_micros -> Int8,
        authorized_count -> Int8,
        last_used_at -> Nullable<Timestamptz>,
        last_used_minute -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    budgets (budget_id) {
        budget_id -> Int8,
        key_id -> Nullable<Int8>,
        user_id -> Nullable<Int8>,
        display_name -> Text,
        limit_micros -> Int8,
        period -> Text,
        is_hard -> Bool,
        warning_micros -> Nullable<Int8>,
        models -> Nullable<Array<Text>>,
        default_estimate_micros -> Int8,
        require_estimate -> Bool,
        revision -> Int8,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    budget_periods (budget_id, period_start) {
        budget_id -> Int8,
        period_start -> Timestamptz,
        spent_micros -> Int8,
        reserved_micros -> Int8,
    }
}

diesel::table! {
    revision_counter (only_row) {
        only_row -> Bool,
        revision -> Int8,
    }
}

diesel::table! {
    change_log (revision) {
        revision -> Int8,
        subject -> Text,
        subject_id -> Nullable<Int8>,
        committed_at -> Timestamptz,
        adds_tokens -> Bool,
    }
}

diesel::table! {
    audit_events (event_id) {
        event_id -> Int8,
        event_at -> Timestamptz,
        actor -> Text,
        action -> Text,
        resource -> Text,
        before -> Nullable<Jsonb>,
        after -> Nullable<Jsonb>,
        peer_address -> Text,
        request_id -> Text,
        revision -> Int8,
        refused_reason -> Text,
        plugin_event -> Nullable<Jsonb>,
    }
}

diesel::table! {
    idempotent_requests (caller, method, request_id) {
        caller -> Text,
        method -> Text,
        request_id -> Uuid,
        fingerprint -> Bytea,
        key_id -> Nullable<Int8>,
        expire_at -> Timestamptz,
    }
}

diesel::table! {
    peppers (pepper_id) {
        pepper_id -> Text,
        secret -> Bytea,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    pending_uses (batch_id) {
        batch_id -> Int8,
        key_ids -> Array<Int8>,
        counts -> Array<Int8>,
        last_used_at -> Array<Timestamptz>,
    }
}

diesel::table! {
    schema_compatibility (only_row) {
        only_row -> Bool,
        oldest_migration -> Text,
    }
}

diesel::table! {
    replicas (replica_id) {
        replica_id -> Uuid,
        address -> Text,
        system_identifier -> Int8,
        timeline -> Int8,
        applied -> Int8,
        beat -> Int8,
        staleness_ms -> Int8,
        started_at -> Timestamptz,
        beat_at -> Timestamptz,
    }
}

diesel::table! {
    limit_counters (kind, subject_id) {
        kind -> Int2,
        subject_id -> Int8,
        row_time -> Int8,
        generation -> Int8,
        counters -> Bytea,
    }
}

diesel::joinable!(key_digests -> key_secrets (secret_id));
diesel::joinable!(key_secrets -> api_keys (key_id));
diesel::allow_tables_to_appear_in_same_query!(
    api_keys,
    budget_periods,
    budgets,
    key_digests,
    key_secrets,
    key_usage,
    owners,
    revision_counter,
);
