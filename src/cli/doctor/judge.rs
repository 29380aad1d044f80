//! From what was seen of a database to findings. Pure.

use std::time::Duration;

use chrono::TimeDelta;

use super::database::{Context, TimeAsked};
use super::report::Report;
use crate::storage::durability::SERVER_VERSION_MIN;
use crate::storage::inspection::{FurtherRights, ServerFacts};
use crate::storage::migrations::SchemaStatus;
use crate::storage::probe::Access;

/// A decision reads the database twice, for the caller's token and the judged one: twice this much is added to each.
const FAR_AWAY: Duration = Duration::from_millis(20);
/// Keys expire by this machine's clock; beyond this, people notice.
const SKEW_WARN: TimeDelta = TimeDelta::seconds(1);
/// Beyond this, what the change log and the audit log say is misleading too.
const SKEW_FAIL: TimeDelta = TimeDelta::seconds(30);
/// Connections of a replica beside its pool: one follows the changes, two debit rate limits.
const BESIDE_POOL: i64 = 3;

/// For people: `0.4 ms`.
pub fn millis(length: Duration) -> String {
    format!("{}.{} ms", length.as_millis(), length.subsec_micros() / 100 % 10)
}

/// How far away it is.
pub fn round_trip(asked: TimeAsked, report: &mut Report) {
    let what = format!("answers in {}", millis(asked.round_trip));
    if asked.round_trip > FAR_AWAY {
        report.warn(
            "database",
            what,
            "Every decision waits for two round trips: run Keystile nearer to its database.",
        );
    } else {
        report.ok("database", what);
    }
}

/// Version, primary, durability, standbys, role, connections.
pub fn server(facts: &ServerFacts, context: &Context<'_>, report: &mut Report) {
    if facts.version < SERVER_VERSION_MIN {
        let what = format!("PostgreSQL {} is too old", facts.version_text);
        report.fail("version", what, "Upgrade it to version 14 or newer.");
    } else {
        report.ok("version", format!("PostgreSQL {}", facts.version_text));
    }
    if facts.is_standby {
        report.fail("primary", "the server is a standby, which cannot be written to", "Name the primary.");
    } else if facts.is_read_only {
        let advice = "Turn default_transaction_read_only off for the role and the database.";
        report.fail("primary", "transactions only read here", advice);
    } else {
        report.ok("primary", "the server can be written to");
    }
    durability(facts, context, report);
    if !context.is_embedded {
        standbys(facts, report);
        if facts.is_superuser {
            let what = format!("{} is a superuser", facts.role);
            report.warn(
                "role",
                what,
                "A role that owns the database is enough: give Keystile one of its own.",
            );
        } else {
            report.ok("role", format!("{}, no superuser", facts.role));
        }
    }
    connections(facts, context, report);
}

fn durability(facts: &ServerFacts, context: &Context<'_>, report: &mut Report) {
    let settings = [("fsync", facts.fsync), ("full_page_writes", facts.full_page_writes)];
    let off: Vec<&str> = settings.iter().filter(|(_, is_on)| !is_on).map(|(name, _)| *name).collect();
    if off.is_empty() {
        let own = if facts.synchronous_commit == "off" {
            "; synchronous_commit is off, and our transactions turn it on"
        } else {
            ""
        };
        report.ok("durability", format!("fsync and full_page_writes are on{own}"));
        return;
    }
    let verb = if off.len() == 1 { "is" } else { "are" };
    let what = format!("{} {verb} off: a crash may lose keys", off.join(" and "));
    if context.serve.database.allow_data_loss {
        report.warn(
            "durability",
            what,
            "KEYSTILE_ALLOW_DATA_LOSS lets that pass: for tests and trials only.",
        );
    } else {
        report.fail("durability", what, "Turn that on in postgresql.conf; `serve` refuses such a server.");
    }
}

fn standbys(facts: &ServerFacts, report: &mut Report) {
    match (facts.standbys, facts.synchronous_standbys.as_str()) {
        (0, "") => report.ok("standbys", "none are connected: what is committed is on this server only"),
        (0, names) => report.warn(
            "standbys",
            format!("none are connected, and commits wait for {names}"),
            "Changes hang until one is back: start it, or change synchronous_standby_names.",
        ),
        (count, "") => report.warn(
            "standbys",
            format!("{count} connected, none synchronous: a failover may lose the last changes"),
            "Name one in synchronous_standby_names, if a revocation must survive a failover.",
        ),
        (count, names) => report.ok("standbys", format!("{count} connected; commits wait for {names}")),
    }
}

fn connections(facts: &ServerFacts, context: &Context<'_>, report: &mut Report) {
    let pool = context.serve.database.pool_size;
    let needed = i64::from(pool).saturating_add(BESIDE_POOL).saturating_mul(i64::from(context.replicas));
    let replicas =
        if context.replicas == 1 { "1 replica".to_owned() } else { format!("{} replicas", context.replicas) };
    let what = format!(
        "{replicas} of {pool} and {BESIDE_POOL} need {needed}; the role may have {}, and the server has {} now",
        facts.connections_max, facts.connections
    );
    if needed > facts.connections_max {
        report.fail(
            "connections",
            what,
            "Lower KEYSTILE_POOL_SIZE, or raise max_connections or the limit of the role or database.",
        );
    } else {
        report.ok("connections", what);
    }
}

/// Whether the clocks are in step; each is known to half a round trip.
pub fn clock(asked: TimeAsked, report: &mut Report) {
    let doubt = TimeDelta::from_std(asked.round_trip / 2).unwrap_or(TimeDelta::MAX);
    let skew = asked.offset.abs().checked_sub(&doubt).unwrap_or_default().max(TimeDelta::zero());
    let ahead = if asked.offset < TimeDelta::zero() { "behind" } else { "ahead of" };
    let what = format!(
        "the database's is {} {ahead} this machine's, give or take {}",
        millis(asked.offset.abs().to_std().unwrap_or_default()),
        millis(asked.round_trip / 2)
    );
    let advice = "Keys expire by the clock of the replica that decides: keep all machines in step (NTP).";
    if skew > SKEW_FAIL {
        report.fail("clock", what, advice);
    } else if skew > SKEW_WARN {
        report.warn("clock", what, advice);
    } else {
        report.ok("clock", what);
    }
}

/// Whether the schema is this program's. `migrates`: `serve` brings it up to date by itself.
pub fn schema(status: &SchemaStatus, migrates: bool, access: &Access, report: &mut Report) -> bool {
    let SchemaStatus { applied, pending, unknown, .. } = status;
    let missing = access.missing_tables();
    let ahead = || format!("ahead of this program by {} ({})", count(unknown.len()), unknown.join(", "));
    if status.is_beyond_us() {
        report.fail("schema", ahead(), "Run the newer program that made them, or one after it.");
    } else if applied.is_empty() && !access.present.is_empty() {
        let what = "tables of Keystile are there, but no record of the migrations that make them";
        report.fail("schema", what, "Restore the database from a backup, or name an empty one.");
    } else if !pending.is_empty() {
        let what = format!("behind this program by {} ({})", count(pending.len()), pending.join(", "));
        let advice =
            "The role may not make tables: run `keystile migrate` with a role that owns the database.";
        match (migrates, access.may_create) {
            (true, true) => report.warn("schema", what, "The next start of `serve` brings it up to date."),
            (_, true) => report.fail("schema", what, "Run `keystile migrate`."),
            (_, false) => report.fail("schema", what, advice),
        }
    } else if !missing.is_empty() {
        let what =
            format!("these tables are missing, though all migrations have run: {}", missing.join(", "));
        report.fail("schema", what, "Restore the database from a backup.");
    } else if !unknown.is_empty() {
        let what = format!("{}, and can be served with", ahead());
        report.warn("schema", what, "In the middle of an upgrade this is as it should be: finish it.");
        return true;
    } else {
        report.ok("schema", format!("up to date, {} applied", count(applied.len())));
        return true;
    }
    false
}

fn count(migrations: usize) -> String {
    format!("{migrations} migration{}", if migrations == 1 { "" } else { "s" })
}

/// Whether the role may do what serving takes. `prunes_audit`: old lines of the audit log are to be removed.
pub fn rights(access: &Access, further: FurtherRights, prunes_audit: bool, report: &mut Report) {
    let Access { role, schema, missing_rights, .. } = access;
    let before = report.clone();
    if schema.is_none() {
        let advice = format!("Make it the owner of the database, or GRANT USAGE ON SCHEMA public TO {role}.");
        report.fail("rights", format!("{role} may use no schema of the database"), advice);
    }
    let mut tables: Vec<(&str, Vec<&str>)> = Vec::new();
    for (right, table) in missing_rights.iter().filter_map(|missing| missing.split_once(" on ")) {
        match tables.last_mut().filter(|(last, _)| *last == table) {
            Some((_, rights)) => rights.push(right),
            None => tables.push((table, vec![right])),
        }
    }
    for (table, rights) in tables {
        let rights = rights.join(", ");
        let advice = format!("As the table's owner: GRANT {rights} ON {table} TO {role}.");
        report.fail("rights", format!("{role} lacks {rights} on {table}"), advice);
    }
    let optional = [
        (
            further.may_prune_changes,
            "DELETE or UPDATE on change_log: its old lines stay",
            "UPDATE, DELETE ON change_log",
        ),
        (
            further.may_prune_audit || !prunes_audit,
            "DELETE or UPDATE on audit_events: its old lines stay, in spite of KEYSTILE_AUDIT_RETENTION",
            "UPDATE, DELETE ON audit_events",
        ),
        (
            further.may_import,
            "UPDATE on the sequence api_keys_key_id_seq, which `keystile import` needs",
            "SELECT, UPDATE ON SEQUENCE api_keys_key_id_seq",
        ),
    ];
    for (_, what, rights) in optional.iter().filter(|(may, ..)| !may) {
        report.warn(
            "rights",
            format!("{role} lacks {what}"),
            format!("As their owner: GRANT {rights} TO {role}."),
        );
    }
    if *report == before {
        report.ok("rights", format!("{role} may do what serving takes"));
    }
}

#[cfg(test)]
mod tests;
