//! The bounds are shown with work that waits for the test, without timing; bcrypt itself against hashes that
//! Python's `bcrypt` 5.0 made.

use std::pin::{Pin, pin};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll, Waker};

use super::*;
use crate::token::{Brand, Presented};

fn token(text: &str) -> Token {
    Presented::classify(text.as_bytes(), &Brand::default()).unwrap().to_token()
}

fn pool(threads: usize, queue_max: usize) -> BcryptPool {
    BcryptPool::new(NonZeroUsize::new(threads).unwrap(), queue_max)
}

fn cheap() -> BcryptCost {
    BcryptCost::new(4).unwrap()
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Work that says when it has begun and ends when it is told to (or when the test is gone).
fn held() -> (impl FnOnce() + Send + 'static, Receiver<()>, Sender<()>) {
    let (begun, has_begun) = channel();
    let (let_go, gate) = channel();
    let work = move || {
        begun.send(()).unwrap();
        let _ = gate.recv();
    };
    (work, has_begun, let_go)
}

const SEVENTY_TWO: &str = "012345678901234567890123456789012345678901234567890123456789012345678901";

#[tokio::test]
async fn verifies_what_python_made() {
    let own = "ks_0123456789AB_abcdefghijklmnopqrstuvwxyzABCDEF05fmQ7";
    let cases = [
        ("en_16-byte-token", "$2a$04$gurLuUp3T3sFQTsdXpu6lOUCqaeo7WmtYUMA263Y8.P/YudwblGWq"),
        (own, "$2a$04$pwzWsLgP6QTE4LMr6R5caeY8mJQNHQHjfoT0N.66o2phRLp9S2Ciu"),
        (&SEVENTY_TWO[..71], "$2a$04$IxpNvvDlc9yq8zmhb8moC.9gqOUR3RsC91vfvJDyWZfjIhG2JaEq."),
        (SEVENTY_TWO, "$2a$04$8lii7X/X221Y8OsZ4RAeMu57isdorejEvbYYsSyIZtnb4qn0kkPoG"),
        ("en_16-byte-token", "$2b$04$xQkH.TJGQYrBOBEtBsoZnOZoQbuw.2CMveCQa0S1QgAZkc9KWNkQe"),
        (own, "$2b$04$7ZsqHoOeis6OBdJzBAAKR..x1Vw/6lUT9lzhvv/JpZ/iGc/sgNjGe"),
        (&SEVENTY_TWO[..71], "$2b$04$rSjayuzIQNlFGMgK1WNQc.e5r7GAObwryszwUC1o7Zeb4DbygtEb2"),
        (SEVENTY_TWO, "$2b$04$tXQ6BHzxq6wjldtu4ge2VOQqbF8aGa1Io1TVg9s29Om/M7V3E27Ii"),
        ("en_16-byte-token", "$2y$04$ulgk9bT7cKmpl3Jj7HJGd.co34vXd3al9/Bot/ah97n5PIXTJXYLe"),
        (own, "$2y$04$3f3clLkPqC0fi8r8utq98eEpHs93hVoUkUbj1q56tmZ7B5vhF86uK"),
        (&SEVENTY_TWO[..71], "$2y$04$yTnqaTSZtlFbCa4lRXgaD.iHJoEOacL0Lpelz2oArCmFrXIcIZ1eq"),
        (SEVENTY_TWO, "$2y$04$hlFL8Dp00bPC7XsLaVAWbOVmPHatmVOe0qdDci7g5KC2/TtX357Me"),
    ];
    let pool = pool(2, 0);
    for (right, hash) in cases {
        let hash = KeyHash::parse(hash).unwrap();
        let last_changed = format!("{}~", &right[..right.len() - 1]);
        assert!(pool.verify(token(right), hash.clone()).await.unwrap(), "{right} {}", hash.expose());
        assert!(!pool.verify(token(&last_changed), hash.clone()).await.unwrap(), "{last_changed}");
    }
    assert_eq!(pool.runs(), 24);
    assert_eq!(pool.hashes_run(), 0);
}

#[tokio::test]
async fn makes_salted_hashes_that_prove_their_token_only() {
    let pool = pool(1, 0);
    for text in ["en_16-byte-token", SEVENTY_TWO, &SEVENTY_TWO[..71]] {
        let hash = pool.hash(token(text), cheap()).await.unwrap();
        assert!(hash.expose().starts_with("$2b$04$"));
        assert_eq!(hash.cost(), cheap());
        assert_ne!(pool.hash(token(text), cheap()).await.unwrap().expose(), hash.expose());
        assert!(pool.verify(token(text), hash.clone()).await.unwrap());
        assert!(!pool.verify(token("another-token-0123456789"), hash).await.unwrap());
    }
    assert_eq!((pool.hashes_run(), pool.runs()), (6, 6));
    assert_eq!(pool.clone().runs(), 6, "clones share their counts");
}

#[tokio::test]
async fn seventy_one_and_seventy_two_bytes_differ() {
    let pool = pool(1, 0);
    let whole = pool.hash(token(SEVENTY_TWO), cheap()).await.unwrap();
    let shorter = pool.hash(token(&SEVENTY_TWO[..71]), cheap()).await.unwrap();
    assert!(!pool.verify(token(&SEVENTY_TWO[..71]), whole).await.unwrap());
    assert!(!pool.verify(token(SEVENTY_TWO), shorter).await.unwrap());
}

#[test]
fn nothing_is_cut() {
    assert_eq!(checked(&[b'x'; 72]).unwrap(), [b'x'; 72]);
    assert!(matches!(checked(&[b'x'; 73]), Err(BcryptError::TooLong(73))));
    assert!(matches!(checked(b"ab\0ab"), Err(BcryptError::Nul)));
    assert!(matches!(checked(b"ab\0"), Err(BcryptError::Nul)));
    // Why NUL is refused: bcrypt itself takes these two for the same.
    let hash = bcrypt::hash(b"ab", 4).unwrap();
    assert!(bcrypt::verify(b"ab\0ab", &hash).unwrap());
}

#[tokio::test]
async fn no_more_run_than_threads_and_no_more_wait_than_the_queue_holds() {
    let pool = pool(2, 2);
    let hash = pool.hash(token("en_16-byte-token"), cheap()).await.unwrap();
    let (first, first_begun, release_first) = held();
    let (second, second_begun, release_second) = held();
    let mut first = pin!(pool.run(first));
    let mut second = pin!(pool.run(second));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    first_begun.recv().unwrap();
    second_begun.recv().unwrap();

    // Both threads are taken: the next two wait, and must not begin before a thread is free.
    let thread_free = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&thread_free);
    let mut third = pin!(pool.run(move || seen.load(Ordering::SeqCst)));
    let mut fourth = pin!(pool.verify(token("en_16-byte-token"), hash.clone()));
    assert!(poll_once(third.as_mut()).is_pending());
    assert!(poll_once(fourth.as_mut()).is_pending());
    assert_eq!(pool.threads.available_permits(), 0);

    // The queue is full: refused at the first poll, for both kinds, and nothing was run for it.
    let fifth = pool.verify(token("en_16-byte-token"), hash.clone());
    assert!(matches!(poll_once(pin!(fifth)), Poll::Ready(Err(BcryptError::Overloaded))));
    let sixth = pool.hash(token("en_16-byte-token"), cheap());
    assert!(matches!(poll_once(pin!(sixth)), Poll::Ready(Err(BcryptError::Overloaded))));
    assert_eq!((pool.runs(), pool.hashes_run()), (0, 1));

    thread_free.store(true, Ordering::SeqCst);
    release_first.send(()).unwrap();
    first.await.unwrap();
    assert!(third.await.unwrap(), "it began while both threads were taken");
    assert!(fourth.await.unwrap());
    assert_eq!(pool.runs(), 1);
    release_second.send(()).unwrap();
    second.await.unwrap();
    assert_eq!((pool.threads.available_permits(), pool.places.available_permits()), (2, 4));
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_queue() {
    let pool = pool(1, 1);
    let (work, begun, release) = held();
    let mut running = pin!(pool.run(work));
    assert!(poll_once(running.as_mut()).is_pending());
    begun.recv().unwrap();

    let abandoned_ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&abandoned_ran);
    let mut abandoned = Box::pin(pool.run(move || seen.store(true, Ordering::SeqCst)));
    assert!(poll_once(abandoned.as_mut()).is_pending());
    assert!(matches!(poll_once(pin!(pool.run(|| ()))), Poll::Ready(Err(BcryptError::Overloaded))));
    drop(abandoned);

    let mut next = pin!(pool.run(|| 7));
    assert!(poll_once(next.as_mut()).is_pending());
    release.send(()).unwrap();
    running.await.unwrap();
    assert_eq!(next.await.unwrap(), 7);
    assert!(!abandoned_ran.load(Ordering::SeqCst));
    assert_eq!((pool.threads.available_permits(), pool.places.available_permits()), (1, 2));
}

#[tokio::test]
async fn what_runs_keeps_its_thread_when_its_caller_goes_away() {
    let pool = pool(1, 0);
    let (work, begun, release) = held();
    let mut abandoned = Box::pin(pool.run(work));
    assert!(poll_once(abandoned.as_mut()).is_pending());
    begun.recv().unwrap();
    drop(abandoned);
    assert!(matches!(pool.run(|| ()).await, Err(BcryptError::Overloaded)));
    release.send(()).unwrap();
    // Its permit comes back when it ends: wait for exactly that.
    drop(pool.places.acquire().await.unwrap());
    pool.run(|| ()).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_an_error_and_loses_no_thread() {
    let pool = pool(1, 0);
    for _ in 0..3 {
        assert!(matches!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(BcryptError::Panicked)));
    }
    pool.run(|| ()).await.unwrap();
    assert_eq!((pool.threads.available_permits(), pool.places.available_permits()), (1, 1));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn its_threads_step_back_behind_the_others() {
    let own = getpriority_process(None).unwrap();
    let of_bcrypt = pool(1, 0).run(|| getpriority_process(None).unwrap()).await.unwrap();
    assert_eq!(of_bcrypt, (own + NICE).min(19));
    assert_eq!(getpriority_process(None).unwrap(), own);
}

#[test]
fn any_bounds_can_be_made() {
    let pool = pool(usize::MAX, usize::MAX);
    assert_eq!(pool.places.available_permits(), Semaphore::MAX_PERMITS);
}

#[tokio::test]
async fn debug_shows_no_secrets() {
    let pool = pool(1, 0);
    let hash = pool.hash(token(SEVENTY_TWO), cheap()).await.unwrap();
    let shown = format!("{pool:?} {hash:?} {:?}", BcryptError::Overloaded);
    assert!(!shown.contains(&hash.expose()[7..]) && !shown.contains(SEVENTY_TWO), "{shown}");
}
