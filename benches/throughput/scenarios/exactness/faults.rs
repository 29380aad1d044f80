//! What befalls replicas and their database while clients ask, and where each replica serves afterwards.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keystile::clock::monotonic_now;
use tokio::sync::watch;
use tokio::time::{Instant as Deadline, sleep_until};

use crate::cells::Fault;
use crate::failure::Failure;
use crate::replicas::{Replicas, Stop};

/// From the end of one fault, when everything is started again, to the next.
const KILL_EVERY: Duration = Duration::from_secs(3);
/// The same of the database.
const RESTART_EVERY: Duration = Duration::from_secs(4);

/// Replicas, and where they are.
pub struct Stage {
    /// All of them.
    pub replicas: Replicas,
    addresses: Vec<watch::Sender<SocketAddr>>,
    /// Faults so far: whose turn it is, and how.
    befell: usize,
}

impl Stage {
    /// With these replicas, as they are now.
    pub fn new(replicas: Replicas) -> Self {
        let addresses = replicas.servers.iter().map(|server| watch::Sender::new(server.address())).collect();
        Self { replicas, addresses, befell: 0 }
    }

    /// Where the replicas at these places are, now and later.
    pub fn addresses(&self, places: &[usize]) -> Vec<watch::Receiver<SocketAddr>> {
        places.iter().filter_map(|place| self.addresses.get(*place)).map(watch::Sender::subscribe).collect()
    }

    /// Lets it happen until the end, again and again; how often.
    ///
    /// # Errors
    /// What was stopped does not start again.
    pub async fn befall(&mut self, fault: Fault, ends: Instant) -> Result<usize, Failure> {
        let pause = match fault {
            Fault::None => ends - monotonic_now(),
            Fault::Kill => KILL_EVERY,
            Fault::Restart => RESTART_EVERY,
        };
        let mut times = 0;
        loop {
            let next = (monotonic_now() + pause).min(ends);
            sleep_until(Deadline::from_std(next)).await;
            if next >= ends {
                return Ok(times);
            }
            match fault {
                Fault::None => {}
                Fault::Kill => self.kill_next().await?,
                Fault::Restart => self.restart_database().await?,
            }
            self.befell += 1;
            times += 1;
        }
    }

    async fn kill_next(&mut self) -> Result<(), Failure> {
        let at = self.befell.checked_rem(self.replicas.servers.len()).unwrap_or_default();
        self.replicas.replace(at).await?;
        if let (Some(address), Some(server)) = (self.addresses.get(at), self.replicas.servers.get(at)) {
            address.send_replace(server.address());
        }
        Ok(())
    }

    async fn restart_database(&mut self) -> Result<(), Failure> {
        let stop = if self.befell.is_multiple_of(2) { Stop::InOrder } else { Stop::Crash };
        self.replicas.restart_database(stop).await
    }
}
