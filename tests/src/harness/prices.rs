//! Prices of integration tests: measured, recorded and compared.
//!
//! A run writes `target/it/times.json`. Its copy in `tests/it/prices.json` is the recorded price
//! that later runs are compared with.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::Class;

/// Number of tests listed at the end of a run.
const MAX_LISTED: usize = 15;
/// A test above this multiple of its recorded price is reported.
const SLOWER_RATIO: f64 = 1.5;
/// A test below this many seconds is never reported, because scheduling alone may double it.
const MIN_NAMED_S: f64 = 5.0;

/// The price of one test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// `file::test`, as the harness prints it.
    pub name: String,
    pub class: Class,
    /// Wall time, without the wait for its turn.
    pub seconds: f64,
}

/// Summary of a run: its prices and the recorded ones.
#[derive(Debug)]
pub struct Bill<'p> {
    /// The prices of this run.
    pub paid: &'p [Price],
    /// The recorded prices. Prices of other tests are ignored.
    pub recorded: &'p [Price],
}

/// Reads prices from a file.
///
/// # Errors
/// Fails if the file can't be read or isn't a list of prices.
pub fn read(path: &Path) -> anyhow::Result<Vec<Price>> {
    let text = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} has no list of prices", path.display()))
}

/// Writes prices to a file, sorted by name and rounded to hundredths, so that two runs compare line
/// by line.
///
/// # Errors
/// Fails if the file can't be written.
pub fn write(path: &Path, prices: &[Price]) -> anyhow::Result<()> {
    let mut prices = prices.to_vec();
    prices.sort_by(|a, b| a.name.cmp(&b.name));
    let lines = prices.into_iter().map(|price| {
        let seconds = (price.seconds * 100.0).round() / 100.0;
        serde_json::to_string(&Price { seconds, ..price })
    });
    let lines = lines.collect::<Result<Vec<_>, _>>()?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = format!("[\n{}\n]\n", lines.join(",\n"));
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}

impl Bill<'_> {
    /// Returns the slowest tests, slowest first.
    fn slowest(&self) -> Vec<&Price> {
        let mut prices: Vec<&Price> = self.paid.iter().collect();
        prices.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        prices.truncate(MAX_LISTED);
        prices
    }

    /// Returns the number of tests and their total seconds by class.
    fn totals(&self) -> BTreeMap<Class, (usize, f64)> {
        let mut totals = BTreeMap::new();
        for price in self.paid {
            let (tests, seconds) = totals.entry(price.class).or_insert((0, 0.0));
            *tests += 1;
            *seconds += price.seconds;
        }
        totals
    }

    /// Returns tests far above their recorded price, each with its recorded seconds.
    fn slower(&self) -> Vec<(&Price, f64)> {
        let recorded: BTreeMap<&str, f64> =
            self.recorded.iter().map(|price| (&*price.name, price.seconds)).collect();
        let of = |price: &Price| recorded.get(&*price.name).copied();
        let mut slower: Vec<_> = self.paid.iter().filter_map(|price| Some((price, of(price)?))).collect();
        slower.retain(|(price, recorded)| {
            price.seconds > MIN_NAMED_S && price.seconds > recorded * SLOWER_RATIO
        });
        slower.sort_by(|a, b| (b.0.seconds / b.1).total_cmp(&(a.0.seconds / a.1)));
        slower
    }

    /// Returns tests without a recorded price.
    fn unrecorded(&self) -> Vec<&Price> {
        let known = |price: &Price| self.recorded.iter().any(|recorded| recorded.name == price.name);
        self.paid.iter().filter(|price| !known(price)).collect()
    }
}

impl fmt::Display for Bill<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "the slowest tests:")?;
        for price in self.slowest() {
            writeln!(f, "{:>8.1} s  {:<9} {}", price.seconds, price.class, price.name)?;
        }
        writeln!(f, "seconds and tests of each class:")?;
        for (class, (tests, seconds)) in self.totals() {
            writeln!(f, "{seconds:>8.1} s  {class:<9} {tests} tests")?;
        }
        for (price, recorded) in self.slower() {
            let Price { name, seconds, .. } = price;
            writeln!(f, "SLOWER: {name} took {seconds:.1} s, {recorded:.1} s are recorded")?;
        }
        let unrecorded = self.unrecorded();
        if !unrecorded.is_empty() {
            let names: Vec<&str> = unrecorded.iter().map(|price| &*price.name).collect();
            writeln!(f, "without a recorded price: {}", names.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(name: &str, class: Class, seconds: f64) -> Price {
        Price { name: name.to_owned(), class, seconds }
    }

    #[test]
    fn names_tests_that_are_half_as_slow_again_and_no_others() {
        let recorded =
            [price("a", Class::Own, 10.0), price("b", Class::Own, 10.0), price("c", Class::Own, 1.0)];
        let paid = [
            price("a", Class::Own, 15.5),
            price("b", Class::Own, 14.5),
            price("c", Class::Own, 4.9),
            price("d", Class::Own, 99.0),
        ];
        let bill = Bill { paid: &paid, recorded: &recorded };
        assert_eq!(bill.slower(), [(&paid[0], 10.0)]);
        assert_eq!(bill.unrecorded(), [&paid[3]]);
        let text = bill.to_string();
        assert!(text.contains("SLOWER: a took 15.5 s, 10.0 s are recorded"), "{text}");
        assert!(text.contains("without a recorded price: d"), "{text}");
    }

    #[test]
    fn adds_up_classes_and_lists_the_slowest_first() {
        let paid: Vec<Price> =
            (0..40).map(|n| price(&format!("t{n}"), [Class::Free, Class::Own][n % 2], n as f64)).collect();
        let bill = Bill { paid: &paid, recorded: &[] };
        assert_eq!(bill.totals(), BTreeMap::from([(Class::Free, (20, 380.0)), (Class::Own, (20, 400.0))]));
        let slowest: Vec<f64> = bill.slowest().iter().map(|price| price.seconds).collect();
        assert_eq!((slowest.len(), slowest[0], slowest[14]), (MAX_LISTED, 39.0, 25.0));
    }

    #[test]
    fn reads_what_it_wrote() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it/times.json");
        write(&path, &[price("b::b", Class::Shared, 1.239), price("a::a", Class::Own, 0.0)]).unwrap();
        assert_eq!(
            read(&path).unwrap(),
            [price("a::a", Class::Own, 0.0), price("b::b", Class::Shared, 1.24)]
        );
        std::fs::write(&path, "{}").unwrap();
        assert!(format!("{:#}", read(&path).unwrap_err()).contains("it/times.json has no list"));
    }
}
