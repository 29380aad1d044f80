//! The life of the program: how it starts, why it does not, and how it ends.

mod configuration;
mod drain;
mod failures;
mod load;
mod starting;

use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::harness::{Process, TestDatabase};

/// What asks whether it is ready to decide.
const READY: [&str; 2] = ["", "keystile.v1.AuthorizeService"];

/// A connection of its own to a server.
async fn connect_to(process: &Process) -> Channel {
    Endpoint::from_shared(format!("http://{}", process.address)).unwrap().connect().await.unwrap()
}

async fn check(channel: &Channel, name: &str) -> ServingStatus {
    let request = HealthCheckRequest { service: name.to_owned() };
    HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status()
}

/// A served database and what its first administrator's token is.
struct Served {
    database: TestDatabase,
    token: String,
    _file: tempfile::NamedTempFile,
    settings: Vec<(&'static str, String)>,
}

impl Served {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let url = database.url();
        Self::by(database, url)
    }

    /// The database, reached by another URL.
    fn by(database: TestDatabase, url: String) -> Self {
        let token = crate::harness::new_token();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &token).unwrap();
        let settings = vec![
            ("KEYSTILE_DATABASE_URL", url),
            ("KEYSTILE_ALLOW_DATA_LOSS", "true".to_owned()),
            ("KEYSTILE_BCRYPT_COST", "4".to_owned()),
            ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", file.path().to_str().unwrap().to_owned()),
        ];
        Self { database, token, _file: file, settings }
    }

    /// With further settings.
    fn settings<'s>(&'s self, more: &[(&'s str, &'s str)]) -> Vec<(&'s str, &'s str)> {
        let own = self.settings.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain(more.iter().copied()).collect()
    }

    /// A replica on it.
    fn serve(&self, more: &[(&str, &str)]) -> Process {
        let settings = self.settings(more);
        tokio::task::block_in_place(|| Process::serve(&settings))
    }
}
