//! Merges several files into one configuration.
//!
//! The main file comes first, then the files of `sources.d`, then the drop-ins of `ntp.toml.d`,
//! each directory in the order of its file names: drop-ins of the administrator win. The trees
//! of all files are merged, and the result is read like one file:
//!
//! | element | if two files have it |
//! |---|---|
//! | a single value, a list | the later one wins |
//! | a table | merged key by key |
//! | a repeatable section (`[[source]]`) | sections of the later file are appended |
//! | `[disabled]` | that of each file applies to earlier files (see `disabled`) |
//!
//! Spans distinguish the files: the text of each file begins where the previous one ends, as in
//! the source maps of compilers. Code that reads the tree therefore does not deal with files,
//! and every diagnostic names the right one.
//!
//! A value that a later file replaces is checked too: each file is also read separately,
//! without reports of missing keys.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::diagnostic::Diagnostic;
use crate::document::{Document, Files};
use crate::documentation::{SECTIONS, SectionDoc, heading, section_doc};
use crate::renamed;
use crate::syntax::{self, SyntaxProblems};

/// Permitted content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything.
    Whole,
    /// Sections `[[source]]` only, for files written by programs.
    Sources,
}

/// A file of the configuration.
pub(crate) struct Layer {
    pub(crate) document: Arc<Document>,
    pub(crate) role: Role,
}

impl Layer {
    /// Creates a layer that may contain everything.
    pub(crate) fn whole(document: &Arc<Document>) -> Self {
        Self {
            document: Arc::clone(document),
            role: Role::Whole,
        }
    }
}

/// Text of a file, with unparsable lines blanked.
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

/// Parses all files. The spans of each tree are moved by the offset of its file.
pub(crate) fn parse<'t>(
    layers: &[Layer],
    files: &Files,
    texts: &'t mut [Repaired<'_>],
) -> (Vec<Spanned<DeTable<'t>>>, SyntaxProblems) {
    let mut problems = SyntaxProblems::default();
    let mut trees = Vec::new();
    for (index, (layer, repaired)) in layers.iter().zip(texts).enumerate() {
        let (tree, more) = DeTable::parse_recoverable(&repaired.text);
        let mut errors = std::mem::take(&mut repaired.errors);
        errors.extend(more);
        problems.extend(syntax::explain(&layer.document, errors));
        let base = files.base(index);
        let span = moved(tree.span(), base);
        let mut table = moved_table(tree.into_inner(), base);
        problems
            .list
            .extend(renamed::replace_aliases(&mut table, files));
        if layer.role == Role::Sources {
            problems.list.extend(misplaced(&mut table, files));
        }
        trees.push(Spanned::new(span, table));
    }
    (trees, problems)
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

/// Removes sections other than sources and reports them. Unknown keys remain, and are reported
/// like any other unknown key.
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
                format!("`{heading}` is not allowed in a file of `sources.d`"),
            )
            .with_help(
                "these files contain `[[source]]` sections only; move it to the main file or to a drop-in of `ntp.toml.d`",
            ),
        );
    }
    problems
}

/// Merges the trees; `None` if there is none.
pub(crate) fn merge<'t>(trees: &[Spanned<DeTable<'t>>]) -> Option<Spanned<DeTable<'t>>> {
    let (first, others) = trees.split_first()?;
    let mut merged = first.clone();
    for tree in others {
        for (key, node) in tree.get_ref() {
            let name = key.get_ref().as_ref();
            let append = section_doc(name).is_some_and(SectionDoc::is_repeatable);
            merge_key(merged.get_mut(), key, node, append);
        }
    }
    Some(merged)
}

fn merge_key<'t>(
    below: &mut DeTable<'t>,
    key: &Spanned<Cow<'t, str>>,
    node: &Spanned<DeValue<'t>>,
    append: bool,
) {
    if let Some(old) = below.get_mut(key.get_ref().as_ref()) {
        match (old.get_mut(), node.get_ref()) {
            (DeValue::Table(old), DeValue::Table(new)) => {
                for (key, node) in new {
                    merge_key(old, key, node, false);
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
    // Replace the key too: its place belongs to the value.
    below.remove(key.get_ref().as_ref());
    below.insert(key.clone(), node.clone());
}
