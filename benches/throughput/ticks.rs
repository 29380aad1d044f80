//! A timer that is finer than the runtime's, whose steps of a millisecond would hide what is to be measured.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
mod timer {
    use std::os::fd::OwnedFd;

    use rustix::io::read;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use super::{Duration, io};

    /// Goes off again and again. Where it was not asked for a while, what it missed is one.
    #[derive(Debug)]
    pub struct Ticks(AsyncFd<OwnedFd>);

    impl Ticks {
        /// Every so often, up to a second. To be called in a runtime.
        ///
        /// # Errors
        /// The operating system's.
        pub fn every(length: Duration) -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            let length = Timespec { tv_sec: 0, tv_nsec: length.subsec_nanos().into() };
            let setting = Itimerspec { it_interval: length, it_value: length };
            timerfd_settime(&timer, TimerfdTimerFlags::empty(), &setting)?;
            #[expect(deprecated, reason = "its successor is unsafe; an owned descriptor stays what it is")]
            let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
            Ok(Self(timer))
        }

        /// Waits for the next.
        ///
        /// # Errors
        /// The operating system's.
        pub async fn next(&mut self) -> io::Result<()> {
            loop {
                let mut ready = self.0.readable().await?;
                let mut expirations = [0; 8];
                let went_off = ready.try_io(|timer| Ok(read(timer.get_ref(), &mut expirations)?));
                // An error here only says that somebody else has read it.
                if let Ok(went_off) = went_off {
                    return went_off.map(|_bytes| ());
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod timer {
    use tokio::time::{Interval, interval};

    use super::{Duration, io};

    /// Goes off again and again, in steps of a millisecond.
    #[derive(Debug)]
    pub struct Ticks(Interval);

    impl Ticks {
        /// Every so often. To be called in a runtime.
        ///
        /// # Errors
        /// None.
        pub fn every(length: Duration) -> io::Result<Self> {
            Ok(Self(interval(length)))
        }

        /// Waits for the next.
        ///
        /// # Errors
        /// None.
        pub async fn next(&mut self) -> io::Result<()> {
            self.0.tick().await;
            Ok(())
        }
    }
}

pub use timer::Ticks;
