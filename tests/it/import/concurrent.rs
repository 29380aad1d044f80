//! Several imports at once, and imports while keys are created.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keystile::admin::enclava::RejectionKind;
use keystile::admin::import::import;
use tokio::time::timeout;

use super::conflicts::CREATE;
use super::{Setup, counts, plain};

/// Only a test that would fail waits so long.
const FAILS: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_of_the_same_source_at_once_end_as_one() {
    let (one, many) = (Setup::new().await, Setup::new().await);
    one.import().await;
    let imports = (0..4).map(|_| async {
        let mut source = many.open().await;
        import(&many.store, &mut source, plain(), &mut |_| {}).await.unwrap()
    });
    let imports: Vec<_> = imports.collect();
    let [a, b, c, d] = imports.try_into().unwrap_or_else(|_| unreachable!());
    let reports = tokio::join!(a, b, c, d);
    let reports = [reports.0, reports.1, reports.2, reports.3];
    assert_eq!(reports.iter().map(|report| counts(report)[0]).sum::<u64>(), 200);
    assert!(reports.iter().all(|report| report.rejections.is_empty()), "{reports:?}");
    assert_eq!(reports.iter().map(|report| report.owners_disabled.len()).sum::<usize>(), 1);
    for table in ["key_usage", "change_log", "budget_periods"] {
        let columns = if table == "change_log" { "subject, subject_id" } else { "*" };
        let table = format!("(SELECT {columns} FROM {table})");
        let (alone, together) = (one.target.dump(&table).await, many.target.dump(&table).await);
        // Ids of budgets go up in another order, and with gaps.
        assert_eq!(alone.len(), together.len(), "{table}");
    }
    let keys = "(SELECT to_jsonb(k) - 'revision' FROM api_keys k)";
    assert_eq!(one.target.dump(keys).await, many.target.dump(keys).await);
    let secrets = "(SELECT key_id, key_prefix, key_hash FROM key_secrets)";
    assert_eq!(one.target.dump(secrets).await, many.target.dump(secrets).await);
    let gaps = "SELECT revision - (SELECT count(*) FROM change_log) FROM revision_counter";
    assert_eq!(many.target.number(gaps).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creating_keys_goes_on_while_keys_are_imported() {
    let setup = Setup::without_rows().await;
    super::batches::fill(&setup, 2_000).await;
    let done = AtomicBool::new(false);
    let creating = async || {
        let mut created = 0;
        while !done.load(Ordering::Relaxed) {
            // Fails where the id is given twice.
            setup.target.sql(CREATE).await;
            created += 1;
        }
        created
    };
    let importing = async {
        let report = setup.import().await;
        done.store(true, Ordering::Relaxed);
        report
    };
    let (report, one, two) = tokio::join!(importing, creating(), creating());
    let own = "SELECT count(*) FROM api_keys WHERE display_name = 'own'";
    assert_eq!(setup.target.number(own).await, one + two);
    // What was created before the first page was reserved has taken the id of an incoming key.
    let taken = u64::try_from(report.rejections.len()).unwrap();
    assert!(report.rejections.iter().all(|rejection| rejection.kind == RejectionKind::IdTaken));
    assert_eq!(counts(&report), [2_000 - taken, 0, 0, taken]);
}

/// A VACUUM, or an index that is built, may take hours: what it holds is left out.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_waits_for_nobody_who_looks_after_a_table_and_analyzes_the_others() {
    let setup = Setup::new().await;
    let _looked_after = setup.target.hold("LOCK TABLE key_usage IN SHARE UPDATE EXCLUSIVE MODE").await;
    let imported = timeout(FAILS, setup.import()).await.expect("it waits");
    assert_eq!(counts(&imported)[0], 200);
    let analyzed = |table| {
        let last = "SELECT count(*) FROM pg_stat_user_tables WHERE last_analyze IS NOT NULL AND relname = ";
        format!("{last} '{table}'")
    };
    setup.target.until(&analyzed("key_secrets")).await;
    assert_eq!(setup.target.number(&analyzed("key_usage")).await, 0);
}
