//! What clients know of admissions, and whether a limit held for them.
//!
//! Of an admission a client knows only that it happened after it had asked and before it was answered. So only those count
//! as lying in a window that were asked and answered in it: if a limit seems broken, it is. Times are nanoseconds of one
//! clock since any instant that is the same for all.
//!
//! Pure: what asks, and what is said of the result, is in `scenarios/exactness`.

use serde::Serialize;

/// Parts into which the service divides a minute; one more is counted, and steady saturation has that period.
pub const PARTS: u32 = 30;

/// A request that was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Before it was sent.
    pub asked: u64,
    /// When the answer had come.
    pub answered: u64,
}

/// The window that certainly holds the most admissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fullest {
    /// How many.
    pub admissions: usize,
    /// Its last instant.
    pub ends: u64,
}

impl Fullest {
    /// Over all intervals (a, a + `window`]: those that were asked after a and answered at a + `window` at the latest. In
    /// n log n; of several, the first.
    pub fn of(admissions: &[Admission], window: u64) -> Self {
        // Whatever took as long as a window lies in none. Each other lies in those that end from its answer on and before
        // it was asked plus a window: what is looked for is where the most of these stretches overlap, which begins where
        // one begins.
        let fits = |admission: &&Admission| admission.answered < admission.asked.saturating_add(window);
        let mut begins: Vec<u64> =
            admissions.iter().filter(fits).map(|admission| admission.answered).collect();
        let mut ends: Vec<u64> =
            admissions.iter().filter(fits).map(|admission| admission.asked.saturating_add(window)).collect();
        begins.sort_unstable();
        ends.sort_unstable();
        let mut ends = ends.into_iter().peekable();
        let mut fullest = Self::default();
        let mut inside = 0_usize;
        for begin in begins {
            inside += 1;
            while ends.next_if(|end| *end <= begin).is_some() {
                inside -= 1;
            }
            if inside > fullest.admissions {
                fullest = Self { admissions: inside, ends: begin };
            }
        }
        fullest
    }
}

/// The stretch of a measurement over which it is counted what a limit gives out: whole periods of steady saturation,
/// wherever they begin, so that bursts count as often as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steady {
    /// First instant, not in it.
    pub after: u64,
    /// Last instant, in it.
    pub to: u64,
    window: u64,
}

impl Steady {
    /// Of a measurement that lasts `lasted`, after half of a window. `None` where not even one period fits in.
    pub fn of(lasted: u64, window: u64) -> Option<Self> {
        let after = window / 2;
        let period = window.checked_add(window / u64::from(PARTS))?;
        let periods = lasted.checked_sub(after)?.checked_div(period)?;
        (periods > 0).then_some(Self { after, to: after + periods * period, window })
    }

    /// Whether an instant lies in it.
    pub fn contains(&self, instant: u64) -> bool {
        self.after < instant && instant <= self.to
    }

    /// How many windows it lasts.
    pub fn windows(&self) -> f64 {
        seconds(self.to - self.after) / seconds(self.window)
    }

    /// Of what `limit` would give out in this time if it gave out all of it in each window, what was answered.
    pub fn share(&self, admissions: &[Admission], limit: u32) -> f64 {
        let given = admissions.iter().filter(|admission| self.contains(admission.answered)).count();
        f64::from(u32::try_from(given).unwrap_or(u32::MAX)) / (f64::from(limit) * self.windows())
    }
}

/// What a measurement says of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It held.
    Holds,
    /// More was admitted in a window: the promise does not hold.
    Broken,
    /// It was not broken, but not asked for more than it gives, either: that says nothing.
    NotTested,
    /// It held, but less was given out than it allows, although nothing was killed.
    TooLittle,
}

/// Of the limit, what has to be given out where nothing befalls the service and more is asked for.
pub const SHARE_GOAL: f64 = 0.95;

impl Verdict {
    /// By the fullest window, how many requests were decided in the steady time, and what was given out of the limit then;
    /// `None` where that is not judged.
    pub fn of(limit: u32, fullest: Fullest, decided: usize, steady: &Steady, share: Option<f64>) -> Self {
        let decided = f64::from(u32::try_from(decided).unwrap_or(u32::MAX));
        if u32::try_from(fullest.admissions).map_or(true, |most| most > limit) {
            Self::Broken
        } else if decided <= f64::from(limit) * steady.windows() {
            Self::NotTested
        } else if share.is_some_and(|share| share < SHARE_GOAL) {
            Self::TooLittle
        } else {
            Self::Holds
        }
    }
}

/// Nanoseconds as seconds.
pub fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}
