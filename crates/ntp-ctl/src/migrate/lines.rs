//! Lines of the other daemons' files: comments, quotation marks, continuation lines.

/// Rules of a format.
pub(super) struct Syntax {
    /// Begin a comment, at the start of a line or after white space.
    pub(super) comments: &'static [char],
    /// Whether `#` also ends a word.
    pub(super) comment_in_word: bool,
    /// Enclose a word with white space.
    pub(super) quotes: &'static [char],
    /// Whether a backslash at its end continues a line.
    pub(super) continuation: Continuation,
}

/// Effect of a backslash at the end of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Continuation {
    /// None.
    No,
    /// Every line is continued, comments too.
    Every,
    /// Comments are not continued, and those between continued lines are ignored.
    NotComments,
}

/// A line with a directive, without its comment; continuation lines are joined by a space.
pub(super) struct Logical {
    number: usize,
    text: String,
}

/// A directive and its words, with the number of its line.
pub(super) struct Line<'a> {
    pub(super) number: usize,
    pub(super) text: &'a str,
    /// In lower case.
    pub(super) directive: String,
    pub(super) words: Vec<&'a str>,
}

impl Syntax {
    /// The lines of a file that have a directive.
    pub(super) fn lines(&self, file: &str) -> Vec<Logical> {
        let mut all = Vec::new();
        let mut physical = file.trim_start_matches('\u{feff}').lines().enumerate();
        while let Some((index, first)) = physical.next() {
            let mut text = first.to_owned();
            if self.continuation == Continuation::Every || !self.is_comment(first) {
                while self.continuation != Continuation::No
                    && let Some(start) = text.strip_suffix('\\')
                {
                    let next = physical.by_ref().map(|(_, line)| line).find(|line| {
                        self.continuation == Continuation::Every || !self.is_comment(line)
                    });
                    text = format!("{start} {}", next.unwrap_or_default());
                }
            }
            let code = self.without_comment(&text).trim();
            if !code.is_empty() {
                all.push(Logical {
                    number: index + 1,
                    text: code.to_owned(),
                });
            }
        }
        all
    }

    fn is_comment(&self, line: &str) -> bool {
        line.trim_start().starts_with(self.comments)
    }

    fn without_comment<'t>(&self, text: &'t str) -> &'t str {
        let mut quote = None;
        let mut after_space = true;
        for (at, c) in text.char_indices() {
            match quote {
                Some(_) if quote == Some(c) => quote = None,
                Some(_) => {}
                None if self.quotes.contains(&c) => quote = Some(c),
                None if after_space && self.comments.contains(&c) => return &text[..at],
                None if self.comment_in_word && c == '#' => return &text[..at],
                None => {}
            }
            after_space = c.is_whitespace();
        }
        text
    }

    /// Splits a line into words; quotation marks around a word are removed.
    pub(super) fn split<'t>(&self, line: &'t Logical) -> Line<'t> {
        let mut words = Vec::new();
        let mut rest = line.text.trim_start();
        while let Some(first) = rest.chars().next() {
            let word;
            if self.quotes.contains(&first) {
                let inside = &rest[first.len_utf8()..];
                (word, rest) = inside.split_once(first).unwrap_or((inside, ""));
            } else {
                (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            }
            words.push(word);
            rest = rest.trim_start();
        }
        let directive = match words.is_empty() {
            true => String::new(),
            false => words.remove(0).to_ascii_lowercase(),
        };
        Line {
            number: line.number,
            text: &line.text,
            directive,
            words,
        }
    }
}

/// Maximum value of a number: larger ones are not valid settings, and their decimal form is not a
/// TOML number.
const MAX_NUMBER: f64 = 1e15;

/// Parses a number. Rejects `nan` and `inf`, which Rust accepts in spellings that TOML does not.
pub(super) fn number(word: &str) -> Option<f64> {
    let number = word.parse::<f64>().ok()?;
    (number.abs() <= MAX_NUMBER).then_some(number)
}
