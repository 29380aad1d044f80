//! Where a number lies on an axis, and which numbers stand beside it.

/// An axis in steps of equal ratio.
#[derive(Clone, Copy, Debug)]
pub struct Logarithmic {
    from: f64,
    to: f64,
}

impl Logarithmic {
    /// Over these numbers, all above 0; `None` where there are none, or not two different ones.
    pub fn over(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (mut from, mut to) = (f64::INFINITY, 0.0_f64);
        for number in numbers {
            (from, to) = (from.min(number), to.max(number));
        }
        (from > 0.0 && from < to).then_some(Self { from, to })
    }

    /// 0 for the least number, 1 for the greatest, and in between by ratio.
    pub fn place(&self, number: f64) -> f64 {
        (number / self.from).ln() / (self.to / self.from).ln()
    }
}

/// An axis from 0 on, in steps of equal difference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Linear {
    /// From one mark to the next.
    pub step: f64,
    /// The last mark.
    pub to: f64,
}

impl Linear {
    /// Up to at least `most`, with four to eight marks above 0 at round numbers.
    pub fn up_to(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let power = 10_f64.powf((most / 4.0).log10().floor());
        let fits = [5.0, 2.0, 1.0].map(|factor| factor * power).into_iter().find(|step| step * 4.0 <= most);
        let step = fits.unwrap_or(power);
        Self { step, to: (most / step - 1e-9).ceil() * step }
    }

    /// 0 for 0, 1 for the last mark.
    pub fn place(&self, number: f64) -> f64 {
        number / self.to
    }

    /// From 0 to the last.
    pub fn marks(&self) -> Vec<f64> {
        let mut marks = vec![0.0];
        while let Some(last) = marks.last().filter(|last| **last + self.step / 2.0 < self.to) {
            marks.push(last + self.step);
        }
        marks
    }
}

/// A number as it stands at an axis: about three digits, with k for thousands and M for millions.
pub fn short(number: f64) -> String {
    let (number, unit) = match number {
        millions if millions >= 1e6 => (millions / 1e6, "M"),
        thousands if thousands >= 1e3 => (thousands / 1e3, "k"),
        ones => (ones, ""),
    };
    let is_whole = |number: f64| (number - number.round()).abs() < 1e-6;
    let places = match number {
        whole if whole >= 100.0 || is_whole(whole) => 0,
        tenths if tenths >= 10.0 || is_whole(tenths * 10.0) => 1,
        _ => 2,
    };
    format!("{number:.places$}{unit}")
}
