//! Places for connections that have not begun to speak HTTP/2 yet: whoever can reach the port can make them, and each
//! costs a socket and the state of a handshake.
//!
//! There are so many places and no more. Where all are taken, a newcomer gets the place of the one that has waited
//! longest among those of the address that has most: whoever holds many idle ones keeps nobody else out, and a
//! handshake that goes on is over long before its turn comes.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// The places.
#[derive(Debug)]
pub(super) struct Newcomers {
    places: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    next: u64,
    count: usize,
    /// The oldest first.
    by_address: HashMap<IpAddr, VecDeque<(u64, oneshot::Sender<()>)>>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    newcomers: Arc<Newcomers>,
    address: IpAddr,
    number: u64,
    ousted: oneshot::Receiver<()>,
}

impl Newcomers {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, taken: Mutex::default() })
    }

    /// Takes a place, if need be that of another.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr) -> Place {
        let address = neighbourhood(peer);
        let (sender, ousted) = oneshot::channel();
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.count >= self.places {
            taken.oust();
        }
        let number = taken.next;
        taken.next = number.wrapping_add(1);
        taken.count = taken.count.saturating_add(1);
        taken.by_address.entry(address).or_default().push_back((number, sender));
        Place { newcomers: Arc::clone(self), address, number, ousted }
    }
}

impl Taken {
    fn oust(&mut self) {
        let Some((&address, _)) = self.by_address.iter().max_by_key(|(_, places)| places.len()) else {
            return;
        };
        if let Some((number, sender)) = self.by_address.get_mut(&address).and_then(VecDeque::pop_front) {
            // Nobody listens where it is just leaving.
            let _leaving = sender.send(());
            self.leave(address, number, true);
        }
    }

    fn leave(&mut self, address: IpAddr, number: u64, was_there: bool) {
        let Some(places) = self.by_address.get_mut(&address) else { return };
        let before = places.len();
        places.retain(|(place, _)| *place != number);
        if was_there || places.len() < before {
            self.count = self.count.saturating_sub(1);
        }
        if places.is_empty() {
            self.by_address.remove(&address);
        }
    }
}

impl Place {
    /// Returns when somebody else has got the place.
    pub(super) async fn ousted(&mut self) {
        // The sender is dropped by nobody but whoever ousts.
        let _told = (&mut self.ousted).await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.newcomers.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.leave(self.address, self.number, false);
    }
}

/// Whoever has one address of version 6 has all of a /64.
fn neighbourhood(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_ousted(place: &mut Place) -> bool {
        place.ousted.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_of_whoever_has_most_makes_room() {
        let newcomers = Newcomers::new(4);
        let enter = |peer: &str| newcomers.enter(peer.parse().unwrap());
        let mut other = enter("192.0.2.9");
        let mut many: Vec<Place> = (0..3).map(|_| enter("192.0.2.1")).collect();
        let mut good = enter("192.0.2.7");
        assert_eq!(many.iter_mut().map(is_ousted).collect::<Vec<_>>(), [true, false, false]);
        let mut next = enter("192.0.2.8");
        assert_eq!(many.iter_mut().map(is_ousted).collect::<Vec<_>>(), [false, true, false]);
        assert!(![&mut other, &mut good, &mut next].into_iter().any(is_ousted));
        drop((other, many, good, next));
        let taken = newcomers.taken.lock().unwrap();
        assert_eq!((taken.count, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn a_place_that_is_left_is_free() {
        let newcomers = Newcomers::new(2);
        let peer = "2001:db8::1".parse().unwrap();
        let mut first = newcomers.enter(peer);
        for _ in 0..10 {
            drop(newcomers.enter(peer));
        }
        assert!(!is_ousted(&mut first));
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let near = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(near("2001:db8::1"), near("2001:db8::ffff:1:2:3"));
        assert_ne!(near("2001:db8::1"), near("2001:db8:0:1::1"));
        assert_ne!(near("192.0.2.1"), near("192.0.2.2"));
        assert_eq!(near("::ffff:192.0.2.1"), near("192.0.2.1"));
    }
}
