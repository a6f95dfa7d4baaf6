//! A rule set: compiled rules, the index over them, and the texts they came from.

use super::Rule;
use super::access::Scope;
use super::compile::Node;
use super::falco::{self, Template};
use super::identity;
use super::ir::Expr;
use super::memo::Numbers;
use super::prefilter::{self, Prefilter};
use super::scratch::{Context, Scratch};
use super::shared;
use super::sight::Correlations;
use crate::config::RuleMatching;
use crate::event::Event;

/// The place of a rule in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleIndex(usize);

impl RuleIndex {
    pub(super) fn new(at: usize) -> RuleIndex {
        RuleIndex(at)
    }

    pub(super) fn get(self) -> usize {
        self.0
    }
}

/// Compiled rules, immutable; shared between workers and swapped whole.
#[derive(Debug)]
pub struct RuleSet {
    rules: Vec<Rule>,
    /// What each rule says: kept to be shown and explained, never read while events are judged.
    exprs: Vec<Expr>,
    nodes: Vec<Node>,
    /// What each Falco rule says of an event; empty when there is no such rule.
    outputs: Vec<Option<Template>>,
    matching: RuleMatching,
    disabled: Vec<Rule>,
    prefilter: Prefilter,
    texts: Vec<(String, String)>,
    hash: String,
    pub(super) correlations: Correlations,
    /// Of the paths of its rules.
    numbers: Numbers,
}

impl RuleSet {
    /// `exprs` are the logic of `rules`, one for one, and `nodes` what they compile to;
    /// `texts` are paths and contents of the files they came from.
    pub(super) fn new(
        rules: Vec<Rule>,
        exprs: Vec<Expr>,
        mut nodes: Vec<Node>,
        texts: Vec<(String, String)>,
    ) -> RuleSet {
        assert_eq!(rules.len(), nodes.len());
        assert_eq!(rules.len(), exprs.len());
        let mut numbers = Numbers::default();
        nodes.iter_mut().for_each(|it| it.number(&mut numbers));
        shared::share(&mut nodes);
        let prefilter = Prefilter::new(&nodes);
        let hash = identity::set(&texts);
        let correlations = Correlations::default();
        let (outputs, matching) = (Vec::new(), RuleMatching::All);
        RuleSet {
            rules,
            exprs,
            nodes,
            outputs,
            matching,
            disabled: Vec::new(),
            prefilter,
            texts,
            hash,
            correlations,
            numbers,
        }
    }

    /// With what its Falco rules say, one for one with the rules, and which of them fire.
    pub(super) fn saying(self, outputs: Vec<Option<Template>>, matching: RuleMatching) -> RuleSet {
        assert_eq!(self.rules.len(), outputs.len());
        RuleSet { outputs, matching, ..self }
    }

    /// With rules beside it that judge nothing.
    pub(super) fn beside(self, disabled: Vec<Rule>) -> RuleSet {
        RuleSet { disabled, ..self }
    }

    /// With the correlations of its rules.
    pub(super) fn correlating(mut self, mut correlations: Correlations) -> RuleSet {
        correlations.number(&mut self.numbers);
        RuleSet { correlations, ..self }
    }

    /// The rules, in the order of their files.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The Falco rules that were loaded and are turned off: they judge nothing.
    pub fn disabled(&self) -> &[Rule] {
        &self.disabled
    }

    /// The rule at a place [`RuleSet::matches`] gave out.
    ///
    /// # Panics
    ///
    /// When the index came from another, larger set: only a bug does that.
    #[expect(clippy::indexing_slicing, reason = "the index came from this set")]
    pub fn rule(&self, index: RuleIndex) -> &Rule {
        &self.rules[index.0]
    }

    /// What the rule says, before it was compiled.
    #[expect(clippy::indexing_slicing, reason = "the index came from this set")]
    pub(super) fn expr(&self, index: RuleIndex) -> &Expr {
        &self.exprs[index.0]
    }

    /// What the rule was compiled to.
    #[expect(clippy::indexing_slicing, reason = "the index came from this set")]
    pub(super) fn node(&self, index: RuleIndex) -> &Node {
        &self.nodes[index.0]
    }

    /// What the rules were compiled to.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// SHA-256, in hex, over the texts of the rule files and the options they were loaded with:
    /// equal for equal rules, wherever they lie.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Path and content of every rule file, and of the options where they say anything: all that
    /// [`load_kept`](super::load_kept) needs to make the set again.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The event under judgement by this set.
    pub(super) fn context<'c, 'e: 'c>(
        &'c self,
        event: &'c Event<'e>,
        scratch: &'c Scratch,
    ) -> Context<'c, 'e> {
        Context::new(event, scratch).of_set(self.numbers.wanted(), self.prefilter.identity())
    }

    /// Whether the index lets the event reach the rule: what it passes over is not judged.
    pub(super) fn reaches(&self, index: RuleIndex, context: &Context<'_, '_>) -> bool {
        let mut memory = prefilter::Memory::default();
        self.prefilter.candidates(context, &mut memory);
        memory.candidates().any(|it| it as usize == index.0)
    }

    /// Replaces what is in `found` by the rules that match the event, in their order.
    pub fn matches(&self, event: &Event<'_>, scratch: &mut Scratch, found: &mut Vec<RuleIndex>) {
        found.clear();
        scratch.clear();
        let mut memory = std::mem::take(&mut scratch.prefilter);
        let context = self.context(event, scratch);
        self.prefilter.candidates(&context, &mut memory);
        self.judge(&context, memory.candidates().map(|it| it as usize), found);
        scratch.prefilter = memory;
    }

    /// As [`RuleSet::matches`], but tries every rule. It is slow, and what the index
    /// is held against.
    pub fn matches_unindexed(
        &self,
        event: &Event<'_>,
        scratch: &mut Scratch,
        found: &mut Vec<RuleIndex>,
    ) {
        found.clear();
        scratch.clear();
        let context = self.context(event, scratch);
        self.judge(&context, 0..self.nodes.len(), found);
    }

    /// Adds those of the rules that match, and of Falco's the first alone where that is asked for.
    fn judge(
        &self,
        context: &Context<'_, '_>,
        rules: impl Iterator<Item = usize>,
        found: &mut Vec<RuleIndex>,
    ) {
        let scope = Scope { context, member: None };
        let mut taken = false;
        let fires = |at: &usize| {
            let only_first = self.matching == RuleMatching::First && self.is_falco(*at);
            if only_first && taken {
                return false;
            }
            let holds = self.nodes.get(*at).is_some_and(|node| node.holds(scope));
            taken |= only_first && holds;
            holds
        };
        found.extend(rules.filter(fires).map(RuleIndex));
    }

    fn is_falco(&self, at: usize) -> bool {
        self.rules.get(at).is_some_and(|it| it.dialect == falco::DIALECT)
    }

    /// What a Falco rule says of the event that [`RuleSet::matches`] was last asked about with
    /// this scratch; `None` for a rule of another dialect.
    pub fn output(&self, index: RuleIndex, event: &Event<'_>, scratch: &Scratch) -> Option<String> {
        let template = self.outputs.get(index.0)?.as_ref()?;
        Some(template.render(&self.context(event, scratch)))
    }
}
