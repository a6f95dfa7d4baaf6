//! Correlations as they were written -> compiled ones, each joined to the rules it counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::access::Access;
use super::compile::CompileFault;
use super::correlation::{CHAIN_MAX, Correlation, Kind, Member, Over, Target, Way};
use super::ir::{CorrelationDraft, Expr, Named, Spec};
use super::load::Fault;
use super::sight::{Correlations, TIMES};
use super::sigma::CorrelationFault;
use super::{Rule, RuleIndex};
use crate::config::nearest;
use crate::hex::hex;

/// The rules that correlations may count, with their names and their logic, one for one.
pub(super) struct Countable<'c> {
    pub(super) rules: &'c [Rule],
    pub(super) names: &'c [Option<String>],
    pub(super) exprs: &'c [Expr],
}

/// What is wrong with the draft at a place, and the word that is to blame.
pub(super) struct Flaw {
    pub(super) at: usize,
    pub(super) near: String,
    pub(super) fault: Fault,
}

/// Links drafts, each with the [`Rule`] that people are shown, to the rules they count. Drafts with
/// a flaw are left out.
pub(super) fn link(
    drafts: &[(CorrelationDraft, Rule)],
    countable: &Countable<'_>,
) -> (Correlations, Vec<Flaw>) {
    let mut linker = Linker {
        drafts,
        rules: countable.rules,
        countable,
        names: BTreeMap::new(),
        targets: Vec::new(),
        flaws: Vec::new(),
        broken: BTreeSet::new(),
    };
    linker.name();
    linker.resolve();
    let order = linker.order();
    let correlations = linker.compile(&order);
    (correlations, linker.flaws)
}

struct Linker<'l> {
    drafts: &'l [(CorrelationDraft, Rule)],
    rules: &'l [Rule],
    countable: &'l Countable<'l>,
    names: BTreeMap<&'l str, Vec<Target>>,
    /// For each draft what its `rules` are; targets name drafts by their place.
    targets: Vec<Vec<Target>>,
    flaws: Vec<Flaw>,
    broken: BTreeSet<usize>,
}

impl<'l> Linker<'l> {
    fn name(&mut self) {
        let mut add = |name: &'l str, target: Target| {
            let known = self.names.entry(name).or_default();
            if !known.contains(&target) {
                known.push(target);
            }
        };
        for (at, (rule, known)) in self.rules.iter().zip(self.countable.names).enumerate() {
            let target = Target::Rule(RuleIndex::new(at));
            add(&rule.id, target);
            known.iter().for_each(|it| add(it, target));
        }
        for (at, (draft, rule)) in self.drafts.iter().enumerate() {
            add(&rule.id, Target::Correlation(at));
            draft.about.name.iter().for_each(|it| add(it, Target::Correlation(at)));
        }
    }

    fn flaw(&mut self, at: usize, near: &str, fault: CorrelationFault) {
        self.broken.insert(at);
        self.flaws.push(Flaw { at, near: near.to_owned(), fault: Fault::Correlation(fault) });
    }

    fn target(&self, name: &str) -> Result<Target, CorrelationFault> {
        match self.names.get(name).map(Vec::as_slice) {
            Some([target]) => Ok(*target),
            Some(several) => {
                Err(CorrelationFault::Ambiguous { name: name.to_owned(), count: several.len() })
            }
            None => {
                let known: Vec<&str> = self.names.keys().copied().collect();
                let nearest = nearest(name, &known);
                Err(CorrelationFault::Unknown { name: name.to_owned(), nearest })
            }
        }
    }

    fn resolve(&mut self) {
        for (at, (draft, _)) in self.drafts.iter().enumerate() {
            let mut targets = Vec::new();
            for name in &draft.spec.rules {
                match self.target(name) {
                    Ok(target) => targets.push(target),
                    Err(fault) => self.flaw(at, name, fault),
                }
            }
            for alias in &draft.spec.aliases {
                for (name, _) in &alias.fields {
                    if let Err(fault) = self.target(name) {
                        self.flaw(at, name, fault);
                    }
                }
            }
            self.targets.push(targets);
        }
    }

    fn children(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        self.targets.get(at).into_iter().flatten().filter_map(|it| match it {
            Target::Correlation(child) => Some(*child),
            Target::Rule(_) => None,
        })
    }

    /// Good drafts, each after those it counts.
    fn order(&mut self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        let mut depth: BTreeMap<usize, usize> = BTreeMap::new();
        loop {
            let before = order.len();
            for at in 0..self.drafts.len() {
                if depth.contains_key(&at) || self.broken.contains(&at) {
                    continue;
                }
                let below: Option<Vec<usize>> =
                    self.children(at).map(|it| depth.get(&it).copied()).collect();
                if let Some(below) = below {
                    depth.insert(at, below.iter().max().map_or(0, |it| it + 1));
                    order.push(at);
                }
            }
            if order.len() == before {
                break;
            }
        }
        let stuck: Vec<usize> = (0..self.drafts.len())
            .filter(|it| !depth.contains_key(it) && !self.broken.contains(it))
            .collect();
        stuck.iter().for_each(|at| self.blame(*at));
        for (at, depth) in &depth {
            if *depth >= CHAIN_MAX {
                self.flaw(*at, "rules", CorrelationFault::Deep);
            }
        }
        order.retain(|it| !self.broken.contains(it));
        order
    }

    /// A draft that never gets its turn: it counts itself, or one that is broken.
    fn blame(&mut self, at: usize) {
        let mut reached: Vec<usize> = self.children(at).collect();
        let mut next = 0;
        while let Some(child) = reached.get(next).copied() {
            let more: Vec<usize> =
                self.children(child).filter(|it| !reached.contains(it)).collect();
            reached.extend(more);
            next += 1;
        }
        let name = |at: &usize| self.drafts.get(*at).map_or("", |(_, rule)| rule.id.as_str());
        let fault = if reached.contains(&at) {
            CorrelationFault::Cycle(reached.iter().map(name).map(str::to_owned).collect())
        } else {
            let broken = reached.iter().find(|it| self.broken.contains(it));
            CorrelationFault::Broken(broken.or(reached.first()).map(name).unwrap_or("").to_owned())
        };
        self.flaw(at, "rules", fault);
    }

    /// Compiles the drafts that have no flaw, in the order of their files.
    fn compile(&mut self, order: &[usize]) -> Correlations {
        let mut built: BTreeMap<usize, Correlation> = BTreeMap::new();
        for at in order {
            match self.one(*at, &built) {
                Ok(correlation) => drop(built.insert(*at, correlation)),
                Err((near, fault)) => {
                    self.broken.insert(*at);
                    self.flaws.push(Flaw { at: *at, near, fault });
                }
            }
        }
        let places: BTreeMap<usize, usize> = built.keys().copied().zip(0..).collect();
        let mut found = Correlations {
            counted: vec![Vec::new(); self.rules.len()],
            silent: vec![false; self.rules.len()],
            times: TIMES.iter().filter_map(|it| Access::of(it).ok()).collect(),
            ..Correlations::default()
        };
        let mut list: Vec<Correlation> = built.into_values().collect();
        let mut parents: Vec<Vec<(usize, u16)>> = vec![Vec::new(); list.len()];
        let mut loud: BTreeSet<usize> = BTreeSet::new();
        for (at, correlation) in list.iter_mut().enumerate() {
            for (member, number) in correlation.members.iter_mut().zip(0_u16..) {
                match &mut member.target {
                    Target::Rule(index) => {
                        if let Some(counted) = found.counted.get_mut(index.get()) {
                            counted.push((at, number));
                        }
                    }
                    Target::Correlation(child) => {
                        // Until here it was the place among the drafts.
                        *child = places.get(child).copied().unwrap_or(*child);
                        if let Some(parents) = parents.get_mut(*child) {
                            parents.push((at, number));
                        }
                    }
                }
            }
        }
        self.quiet(&list, &mut found, &mut loud);
        for (at, (mut correlation, parents)) in list.into_iter().zip(parents).enumerate() {
            correlation.silent = !parents.is_empty() && !loud.contains(&at);
            correlation.parents = parents;
            found.list.push(Arc::new(correlation));
        }
        found
    }

    /// Which rules are only counted, and which correlations alert although they are counted:
    /// one `generate: true` among those that count it is enough.
    fn quiet(&self, list: &[Correlation], found: &mut Correlations, loud: &mut BTreeSet<usize>) {
        let generates = |correlation: &Correlation| {
            self.drafts
                .iter()
                .any(|(draft, rule)| rule.id == correlation.rule.id && draft.spec.generate)
        };
        let generating: Vec<bool> = list.iter().map(generates).collect();
        for (silent, counted) in found.silent.iter_mut().zip(&found.counted) {
            let generated =
                counted.iter().any(|(at, _)| generating.get(*at).copied().unwrap_or(false));
            *silent = !counted.is_empty() && !generated;
        }
        for (correlation, _) in list.iter().zip(&generating).filter(|(_, it)| **it) {
            loud.extend(correlation.members.iter().filter_map(|it| match it.target {
                Target::Correlation(child) => Some(child),
                Target::Rule(_) => None,
            }));
        }
    }

    fn one(
        &self,
        at: usize,
        built: &BTreeMap<usize, Correlation>,
    ) -> Result<Correlation, (String, Fault)> {
        let no = || (String::new(), Fault::Correlation(CorrelationFault::NoBlock));
        let (draft, rule) = self.drafts.get(at).ok_or_else(no)?;
        let targets = self.targets.get(at).ok_or_else(no)?;
        let spec = &draft.spec;
        let mut members: Vec<Member> = Vec::new();
        let mut order = Vec::new();
        for (target, name) in targets.iter().zip(&spec.rules) {
            let known = members.iter().position(|it| it.target == *target);
            let place = known.unwrap_or(members.len());
            if known.is_none() {
                members.push(self.member(spec, *target, name, built)?);
            }
            order.push(u16::try_from(place).unwrap_or(u16::MAX));
        }
        let over = spec.named.as_ref().map(|it| over(it, &spec.rules, &order));
        if let Some(over) = &over {
            let mut wanted = Vec::new();
            unnegated(over, true, &mut wanted);
            order.retain(|it| wanted.contains(it));
        }
        let hash = self.hash(rule, spec, targets, built);
        Ok(Correlation {
            rule: rule.clone(),
            hash,
            kind: spec.kind,
            group_by: spec.group_by.clone(),
            timespan: spec.timespan.clone(),
            micros: spec.micros,
            shape: spec.shape,
            bounds: spec.bounds.clone(),
            over,
            order: if spec.kind == Kind::TemporalOrdered { order } else { Vec::new() },
            fields: spec.fields.clone(),
            percentile: spec.percentile,
            silent: false,
            parents: Vec::new(),
            members,
        })
    }

    fn member(
        &self,
        spec: &Spec,
        target: Target,
        name: &str,
        built: &BTreeMap<usize, Correlation>,
    ) -> Result<Member, (String, Fault)> {
        let group = spec.group_by.iter().map(|field| {
            let field = self.unaliased(spec, target, field);
            match target {
                Target::Rule(_) => event_way(field),
                Target::Correlation(child) => Ok(Way::Child(child_field(built, child, field))),
            }
        });
        let values = spec.fields.iter().map(|field| {
            let field = self.unaliased(spec, target, field);
            match target {
                Target::Rule(_) => event_way(field),
                Target::Correlation(child) => match child_field(built, child, field) {
                    Some(at) => Ok(Way::Child(Some(at))),
                    None => {
                        let (name, field) = (name.to_owned(), field.to_owned());
                        let fault = CorrelationFault::ChildField { name, field: field.clone() };
                        Err((field, Fault::Correlation(fault)))
                    }
                },
            }
        });
        Ok(Member {
            target,
            group: group.collect::<Result<_, _>>()?,
            values: values.collect::<Result<_, _>>()?,
        })
    }

    /// What a field is called in the events of a rule.
    fn unaliased<'f>(&self, spec: &'f Spec, target: Target, field: &'f str) -> &'f str {
        let alias = spec.aliases.iter().find(|it| it.name == field);
        let of = |fields: &'f Vec<(String, String)>| {
            fields.iter().find(|(name, _)| self.target(name).ok() == Some(target))
        };
        alias.and_then(|it| of(&it.fields)).map_or(field, |(_, name)| name)
    }

    /// Over the logic alone: a new title or level leaves the windows as they are.
    fn hash(
        &self,
        rule: &Rule,
        spec: &Spec,
        targets: &[Target],
        built: &BTreeMap<usize, Correlation>,
    ) -> String {
        let mut hasher = Sha256::new();
        let mut part = |text: &str| {
            hasher.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(text);
        };
        part(&rule.id);
        // Whether its rules alert as well is no matter of what it counts.
        part(&format!("{:?}", Spec { generate: false, ..spec.clone() }));
        for target in targets {
            match target {
                Target::Rule(index) => {
                    part(self.rules.get(index.get()).map_or("", |it| it.id.as_str()));
                    let expr = self.countable.exprs.get(index.get());
                    part(&format!("{expr:?}"));
                }
                Target::Correlation(child) => {
                    part(built.get(child).map_or("", |it| it.hash.as_str()));
                }
            }
        }
        hex(&hasher.finalize())
    }
}

fn event_way(field: &str) -> Result<Way, (String, Fault)> {
    let blamed = |why| (field.to_owned(), Fault::Compile(CompileFault::Name(why)));
    Access::of(field).map(Way::Event).map_err(blamed)
}

fn child_field(built: &BTreeMap<usize, Correlation>, child: usize, field: &str) -> Option<usize> {
    built.get(&child)?.group_by.iter().position(|it| it == field)
}

/// `names` stand for `places`, one for one.
fn over(named: &Named, names: &[String], places: &[u16]) -> Over {
    let each = |parts: &[Named]| parts.iter().map(|it| over(it, names, places)).collect();
    match named {
        Named::Rule(name) => {
            let at = names.iter().position(|it| it == name);
            Over::Member(at.and_then(|it| places.get(it)).copied().unwrap_or(u16::MAX))
        }
        Named::All(parts) => Over::All(each(parts)),
        Named::Any(parts) => Over::Any(each(parts)),
        Named::AtLeast(count, parts) => Over::AtLeast(*count, each(parts)),
        Named::Not(part) => Over::Not(Box::new(over(part, names, places))),
    }
}

/// The members that a condition asks for: those it rules out have no place in an order.
fn unnegated(over: &Over, wanted: bool, found: &mut Vec<u16>) {
    match over {
        Over::Member(member) if wanted => found.push(*member),
        Over::Member(_) => {}
        Over::Not(part) => unnegated(part, !wanted, found),
        Over::All(parts) | Over::Any(parts) | Over::AtLeast(_, parts) => {
            parts.iter().for_each(|it| unnegated(it, wanted, found));
        }
    }
}
