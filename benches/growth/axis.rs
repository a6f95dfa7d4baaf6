//! Costs of a unit along one axis, and whether they grow by no more than is promised.

/// One thing that is measured at several sizes.
pub(crate) struct Axis {
    pub(crate) name: &'static str,
    /// What there is more and more of.
    pub(crate) counted: &'static str,
    /// What the cost is given in.
    pub(crate) unit: &'static str,
    /// Count and cost, by count.
    pub(crate) points: Vec<(f64, f64)>,
    promise: Promise,
}

#[derive(Clone, Copy)]
pub(crate) enum Promise {
    /// The largest cost is at most so many times the smallest.
    Within(f64),
    /// The cost of the last is less than `most` times that of the point with the count `from`.
    Times { from: f64, most: f64 },
}

impl Axis {
    pub(crate) fn new(
        name: &'static str,
        counted: &'static str,
        unit: &'static str,
        promise: Promise,
    ) -> Axis {
        Axis { name, counted, unit, points: Vec::new(), promise }
    }

    pub(crate) fn add(&mut self, count: f64, cost: f64) {
        self.points.push((count, cost));
    }

    /// Prints the table; gives whether the promise is kept.
    pub(crate) fn report(&self) -> bool {
        let (first, last) = (self.points[0].1, self.last());
        println!("\n{}\n{:>12} {:>10} {:>10}", self.name, self.counted, self.unit, "to first");
        for (count, cost) in &self.points {
            println!("{count:>12} {cost:>10.3} {:>9.2}x", cost / first);
        }
        println!("last to first: {:.2}", last / first);
        let (kept, words) = self.verdict();
        println!("{}: {words}", if kept { "PASS" } else { "MISSED" });
        kept
    }

    /// A cost of nothing or less is noise as large as what is measured: that proves no promise, so it is not kept.
    fn verdict(&self) -> (bool, String) {
        let costs = || self.points.iter().map(|it| it.1);
        let least = costs().fold(f64::INFINITY, f64::min);
        let (factor, kept, words) = match self.promise {
            Promise::Within(most) => {
                let factor = costs().fold(0.0, f64::max) / least;
                (factor, factor <= most, format!("times from least to most, {most} promised"))
            }
            Promise::Times { from, most } => {
                let (_, base) = self.points.iter().find(|it| it.0 >= from).unwrap();
                let factor = self.last() / base;
                (factor, factor < most, format!("times that of {from}, less than {most} promised"))
            }
        };
        (kept && least > 0.0, format!("{factor:.2} {words}"))
    }

    fn last(&self) -> f64 {
        self.points[self.points.len() - 1].1
    }
}
