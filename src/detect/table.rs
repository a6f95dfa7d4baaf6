//! The groups of one correlation in one cluster, and which of them was quiet longest.
//!
//! **Invariant:** every group stands in `quiet` once, under the time that `last` gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::window::{Entry, Group};
use crate::rules::correlation::Kind;

/// The key of a group within its table.
pub(super) type Key = Arc<[u8]>;

/// What a group costs beside its key, entries and details: its place in the two trees, which are
/// little more than half full, and what the allocator adds.
pub(super) const GROUP_BYTES: usize = 320;

/// What a detail costs beside its text.
const DETAIL_BYTES: usize = 128;

/// The groups of one correlation in one cluster.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) groups: BTreeMap<Key, Group>,
    pub(super) quiet: BTreeSet<(i64, Key)>,
}

/// What groups cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) bytes: usize,
    /// Of these, for what findings show of events.
    pub(super) details: usize,
}

impl Table {
    /// Takes a group out.
    pub(super) fn take(&mut self, kind: Kind, key: &[u8]) -> Option<(Key, Group)> {
        let (key, group) = self.groups.remove_entry(key)?;
        self.quiet.remove(&(last(kind, &group), Arc::clone(&key)));
        Some((key, group))
    }

    /// Puts a group in, or back.
    pub(super) fn put(&mut self, kind: Kind, key: Key, group: Group) {
        self.quiet.insert((last(kind, &group), Arc::clone(&key)));
        self.groups.insert(key, group);
    }

    /// The group that was quiet longest, and since when.
    pub(super) fn quietest(&self) -> Option<&(i64, Key)> {
        self.quiet.first()
    }
}

/// Since when a group is quiet. An absence is looked for from its oldest event on.
pub(super) fn last(kind: Kind, group: &Group) -> i64 {
    let entry = if kind == Kind::Absence { group.entries.front() } else { group.entries.back() };
    entry.map_or(i64::MIN, |it| it.time)
}

/// What a group costs.
pub(super) fn cost(key: &[u8], group: &Group) -> Cost {
    let details: usize = group.details.iter().map(|it| it.json.len() + DETAIL_BYTES).sum();
    let entries = group.entries.capacity() * size_of::<Entry>();
    Cost { bytes: GROUP_BYTES + key.len() + entries + details, details }
}

/// A correlation, by its place in the rule set, in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) at: usize,
    pub(super) cluster: Arc<str>,
}

/// All groups of all correlations: the one place that changes them, so that what they cost and
/// what the next commit has to record are always known.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) tables: BTreeMap<Spot, Table>,
    /// Groups that are new, changed or gone since the last commit.
    touched: BTreeSet<(Spot, Key)>,
    /// Groups that could show events, the one that was quiet longest first.
    detailed: BTreeSet<(i64, Spot, Key)>,
    pub(super) cost: Cost,
    pub(super) groups: usize,
}

impl Store {
    /// Changes a group, which is new if it was not there. It goes away when `act` leaves it without
    /// an entry.
    pub(super) fn update<R>(
        &mut self,
        (spot, kind): (&Spot, Kind),
        key: &[u8],
        act: impl FnOnce(&mut Group) -> R,
    ) -> R {
        let (key, mut group) = self.take(spot, kind, key);
        let result = act(&mut group);
        if !group.entries.is_empty() {
            self.touched.insert((spot.clone(), Arc::clone(&key)));
            self.put(spot, kind, key, group);
        } else if group.stored {
            self.touched.insert((spot.clone(), key));
        } else {
            self.touched.remove(&(spot.clone(), key));
        }
        result
    }

    fn take(&mut self, spot: &Spot, kind: Kind, key: &[u8]) -> (Key, Group) {
        let found = self.tables.get_mut(spot).and_then(|it| it.take(kind, key));
        let Some((key, group)) = found else { return (Key::from(key), Group::default()) };
        let cost = cost(&key, &group);
        self.cost.bytes -= cost.bytes;
        self.cost.details -= cost.details;
        self.groups -= 1;
        if !group.details.is_empty() {
            self.detailed.remove(&(last(kind, &group), spot.clone(), Arc::clone(&key)));
        }
        (key, group)
    }

    /// Puts a group in, as it was read from the catalog or is to be.
    pub(super) fn put(&mut self, spot: &Spot, kind: Kind, key: Key, group: Group) {
        let cost = cost(&key, &group);
        self.cost.bytes += cost.bytes;
        self.cost.details += cost.details;
        self.groups += 1;
        if !group.details.is_empty() {
            self.detailed.insert((last(kind, &group), spot.clone(), Arc::clone(&key)));
        }
        self.tables.entry(spot.clone()).or_default().put(kind, key, group);
    }

    pub(super) fn get(&self, spot: &Spot, key: &[u8]) -> Option<&Group> {
        self.tables.get(spot)?.groups.get(key)
    }

    pub(super) fn remove(&mut self, spot: &Spot, kind: Kind, key: &[u8]) {
        self.update((spot, kind), key, |group| group.entries.clear());
    }

    /// The group that was quiet longest, of all.
    pub(super) fn quietest(&self) -> Option<(Spot, Key)> {
        let of = |(spot, table): (&Spot, &Table)| {
            table.quietest().map(|(last, key)| (*last, spot.clone(), Arc::clone(key)))
        };
        self.tables.iter().filter_map(of).min().map(|(_, spot, key)| (spot, key))
    }

    /// The group that was quiet longest, of those that can show events.
    pub(super) fn quietest_detailed(&self) -> Option<(Spot, Key)> {
        self.detailed.first().map(|(_, spot, key)| (spot.clone(), Arc::clone(key)))
    }

    /// Hands out what has changed since the last call, in a fixed order.
    pub(super) fn changed(&mut self) -> Vec<(Spot, Key)> {
        std::mem::take(&mut self.touched).into_iter().collect()
    }

    /// A group that is now recorded.
    pub(super) fn recorded(&mut self, spot: &Spot, key: &[u8]) -> Option<&Group> {
        let group = self.tables.get_mut(spot)?.groups.get_mut(key)?;
        group.stored = true;
        Some(group)
    }

    /// Gives correlations the places that `places` says; the groups of those without one are taken
    /// out, and handed over when the last commit knows them.
    pub(super) fn move_to(
        &mut self,
        places: &dyn Fn(usize) -> Option<usize>,
        kind: &dyn Fn(usize) -> Kind,
    ) -> Vec<(Spot, Key)> {
        let old = std::mem::take(self);
        let mut gone = Vec::new();
        for (spot, table) in old.tables {
            let Some(at) = places(spot.at) else {
                let stored = table.groups.into_iter().filter(|(_, it)| it.stored);
                gone.extend(stored.map(|(key, _)| (spot.clone(), key)));
                continue;
            };
            let moved = Spot { at, cluster: Arc::clone(&spot.cluster) };
            for (key, group) in table.groups {
                self.put(&moved, kind(at), key, group);
            }
        }
        for (spot, key) in old.touched {
            match places(spot.at) {
                Some(at) => drop(self.touched.insert((Spot { at, ..spot }, key))),
                None => gone.push((spot, key)),
            }
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }
}
