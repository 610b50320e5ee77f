//! One configuration from several files.
//!
//! The main file comes first, then the files of `sources.d`, then the drop-ins of `ntp.toml.d`, each folder in the order of its names:
//! what an administrator writes into a drop-in has the last word. The trees of all files are laid over each other, and the result is
//! read as if it were one file:
//!
//! | what | in two files |
//! |---|---|
//! | a single value, a list | the later file's holds |
//! | a table | key by key |
//! | a section that may be repeated (`[[source]]`) | the later file's come after the earlier one's |
//! | `[disabled]` | each file's is for the files before it (see `disabled`) |
//!
//! Spans tell the files apart: the text of each file begins where the one before it ended, as in the source maps of compilers. So whatever
//! reads the tree knows nothing of files, and every diagnostic names the right one.
//!
//! A value that a later file replaces is judged all the same: each file is also read for itself, with nothing missed.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::diagnostic::Diagnostic;
use crate::document::{Document, Place};
use crate::keys::{SECTIONS, heading};
use crate::syntax::{self, Explained};

/// What a file may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Whole,
    /// Sections `[[source]]` only: such files are written by programs.
    Sources,
}

/// A file of the configuration.
pub(crate) struct Layer {
    pub(crate) document: Arc<Document>,
    pub(crate) role: Role,
}

impl Layer {
    /// A file that may hold everything.
    pub(crate) fn whole(document: &Arc<Document>) -> Self {
        Self {
            document: Arc::clone(document),
            role: Role::Whole,
        }
    }
}

/// All files, and which stretch of spans belongs to which.
#[derive(Clone)]
pub(crate) struct Files(Vec<(usize, Arc<Document>)>);

impl Files {
    pub(crate) fn new(layers: &[Layer]) -> Self {
        let mut base = 0;
        let files = layers.iter().map(|layer| {
            let start = base;
            // One more, so that the end of a file is not the beginning of the next.
            base += layer.document.text().len() + 1;
            (start, Arc::clone(&layer.document))
        });
        Self(files.collect())
    }

    fn base(&self, index: usize) -> usize {
        self.0.get(index).map_or(0, |(base, _)| *base)
    }

    pub(crate) fn place(&self, span: Range<usize>) -> Place {
        let after = self.0.partition_point(|(base, _)| *base <= span.start);
        let Some((base, document)) = self.0.get(after.saturating_sub(1)) else {
            return Place::nowhere();
        };
        Place::new(document, span.start - base..span.end.max(span.start) - base)
    }
}

/// A file's text, made readable.
pub(crate) struct Repaired<'d> {
    text: Cow<'d, str>,
    errors: Vec<Error>,
}

/// The texts of all files; the trees borrow from them.
pub(crate) fn repair(layers: &[Layer]) -> Vec<Repaired<'_>> {
    let texts = layers.iter().map(|layer| {
        let (text, errors) = syntax::repair(&layer.document);
        Repaired { text, errors }
    });
    texts.collect()
}

/// The trees of all files, their spans moved to where each file stands, and what is wrong with their syntax.
pub(crate) fn parse<'t>(
    layers: &[Layer],
    files: &Files,
    texts: &'t mut [Repaired<'_>],
) -> (Vec<Spanned<DeTable<'t>>>, Explained) {
    let mut explained = Explained::default();
    let mut trees = Vec::new();
    for (index, (layer, repaired)) in layers.iter().zip(texts).enumerate() {
        let (tree, more) = DeTable::parse_recoverable(&repaired.text);
        let mut errors = std::mem::take(&mut repaired.errors);
        errors.extend(more);
        explained.extend(syntax::explain(&layer.document, errors));
        let base = files.base(index);
        let span = moved(tree.span(), base);
        let mut table = moved_table(tree.into_inner(), base);
        if layer.role == Role::Sources {
            explained.problems.extend(misplaced(&mut table, files));
        }
        trees.push(Spanned::new(span, table));
    }
    (trees, explained)
}

fn moved(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    let entries = table.into_iter().map(|(key, node)| {
        let span = moved(key.span(), by);
        (Spanned::new(span, key.into_inner()), moved_node(node, by))
    });
    entries.collect()
}

fn moved_node(node: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = moved(node.span(), by);
    let value = match node.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|it| moved_node(it, by)).collect())
        }
        plain => plain,
    };
    Spanned::new(span, value)
}

/// Takes out what has no place among sources; what nobody knows stays, to be told like any other unknown key.
fn misplaced(table: &mut DeTable<'_>, files: &Files) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    for section in SECTIONS.iter().filter(|section| section.name != "source") {
        let Some((key, _)) = table.remove_entry(section.name) else {
            continue;
        };
        let heading = heading(section.name);
        problems.push(
            Diagnostic::error(
                files.place(key.span()),
                format!("`{heading}` has no place in a file of `sources.d`"),
            )
            .with_help(
                "such files hold sections `[[source]]` only; everything else belongs into the main file or a drop-in of `ntp.toml.d`",
            ),
        );
    }
    problems
}

/// The trees as one.
pub(crate) fn merge<'t>(trees: &[Spanned<DeTable<'t>>]) -> Option<Spanned<DeTable<'t>>> {
    let (first, others) = trees.split_first()?;
    let mut merged = first.clone();
    for tree in others {
        for (key, node) in tree.get_ref() {
            let name = key.get_ref().as_ref();
            let section = SECTIONS.iter().find(|section| section.name == name);
            let repeated = section.is_some_and(|section| section.heading.starts_with("[["));
            lay(merged.get_mut(), key, node, repeated);
        }
    }
    Some(merged)
}

fn lay<'t>(
    below: &mut DeTable<'t>,
    key: &Spanned<Cow<'t, str>>,
    node: &Spanned<DeValue<'t>>,
    append: bool,
) {
    if let Some(old) = below.get_mut(key.get_ref().as_ref()) {
        match (old.get_mut(), node.get_ref()) {
            (DeValue::Table(old), DeValue::Table(new)) => {
                for (key, node) in new {
                    lay(old, key, node, false);
                }
                return;
            }
            (DeValue::Array(old), DeValue::Array(new)) if append => {
                for node in new {
                    old.push(node.clone());
                }
                return;
            }
            _ => {}
        }
    }
    // The key as well: its place is that of the value.
    below.remove(key.get_ref().as_ref());
    below.insert(key.clone(), node.clone());
}
