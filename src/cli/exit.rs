//! Exit codes: a contract, listed in `docs/exit-codes.md`.
//!
//! 0, 1 and 2 are those of every command. The commands of a deployment ([`SAYING_MORE`]) say more, with the codes that
//! sysexits.h has for it, so that whoever restarts a service can tell what a restart would mend.

use crate::admin::AdminError;
use crate::config::Faults;
use crate::server::ServerError;

/// The commands whose exit codes say more than 2.
pub(super) const SAYING_MORE: [&str; 4] = ["serve", "check-config", "migrate", "bootstrap"];

/// Something could not be done, or the command line is wrong.
pub(super) const FAILED: u8 = 2;
/// The database is there, but not as it has to be (EX_DATAERR).
const DATABASE_UNFIT: u8 = 65;
/// The database is out of reach (EX_UNAVAILABLE): a restart may help.
const DATABASE_UNREACHABLE: u8 = 69;
/// A part of the service died (EX_SOFTWARE): a restart recovers.
const PART_DIED: u8 = 70;
/// The machine refuses: the address is taken, say (EX_OSERR).
const MACHINE: u8 = 71;
/// A file, or the embedded PostgreSQL, cannot be used (EX_IOERR).
const FILES: u8 = 74;
/// The database does not let us in, or not do what has to be done (EX_NOPERM).
const DATABASE_RIGHTS: u8 = 77;
/// Settings are wrong (EX_CONFIG): a restart mends nothing.
pub(super) const SETTINGS: u8 = 78;

/// The exit code of a command that failed.
pub(super) fn code_of(error: &anyhow::Error) -> u8 {
    if error.is::<Faults>() {
        return SETTINGS;
    }
    error.downcast_ref().map_or(FAILED, code_of_server)
}

fn code_of_server(error: &ServerError) -> u8 {
    match error {
        ServerError::Config(_) | ServerError::PeppersUnreadable { .. } | ServerError::Peppers(_) => SETTINGS,
        ServerError::TokenFileContent(_) | ServerError::Tls(_) => SETTINGS,
        ServerError::Unreachable { .. } => DATABASE_UNREACHABLE,
        ServerError::Storage(error) | ServerError::Bootstrap(AdminError::Store(error))
            if error.is_outage() =>
        {
            DATABASE_UNREACHABLE
        }
        ServerError::Refused { .. } | ServerError::MissingRights(_) => DATABASE_RIGHTS,
        ServerError::SchemaBehind(_)
        | ServerError::SchemaAhead(_)
        | ServerError::SchemaTorn(_)
        | ServerError::Migration(_)
        | ServerError::Unfit(_)
        | ServerError::StoredPepper(_) => DATABASE_UNFIT,
        ServerError::Listen { .. } | ServerError::Signals(_) => MACHINE,
        ServerError::Embedded(_) | ServerError::TokenFile { .. } => FILES,
        ServerError::PartDied { .. } => PART_DIED,
        ServerError::Hurried(signal) => signal.exit_code(),
        _ => FAILED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::EndSignal;
    use crate::storage::StorageError;

    #[test]
    fn a_database_that_goes_away_during_the_start_is_out_of_reach_whoever_meets_it() {
        let gone = || StorageError::Unavailable("gone".into());
        let met = [ServerError::Storage(gone()), ServerError::Bootstrap(AdminError::Store(gone()))];
        assert_eq!(met.each_ref().map(code_of_server), [DATABASE_UNREACHABLE; 2]);
    }

    #[test]
    fn every_exit_code_is_documented() {
        let document = include_str!("../../docs/exit-codes.md");
        let rows =
            document.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse().ok());
        let documented: Vec<u8> = rows.collect();
        let own = [
            DATABASE_UNFIT,
            DATABASE_UNREACHABLE,
            PART_DIED,
            MACHINE,
            FILES,
            DATABASE_RIGHTS,
            SETTINGS,
            EndSignal::Interrupt.exit_code(),
            EndSignal::Terminate.exit_code(),
        ];
        let all: Vec<u8> = [0, super::super::DENIED, FAILED].into_iter().chain(own).collect();
        assert_eq!(documented, all);
    }
}
