//! Reads transcripts: text files in which every test is a short conversation with exact bytes.
//!
//! | line | means |
//! |---|---|
//! | `# ...` | a comment |
//! | `== a sentence` | a test of that name begins, on a connection of its own |
//! | `> bytes` | these bytes are sent |
//! | `< bytes` | exactly these bytes come next |
//! | `closed` | nothing more comes: the server has closed the connection |
//! | `1.6.18 id < bytes`, `1.6.18 id closed` | what memcached 1.6.18 does instead; `id` is a row of `differences` |
//! | `1.6.45 id < bytes`, `1.6.45 id closed` | the same for memcached 1.6.45 |
//! | `wait 2` | that many seconds pass |
//! | `in one piece` | the outcome depends on how the bytes arrive: each send is one write |
//! | `leave` | the client goes away; the server still waits for bytes |
//!
//! The notation of the bytes is that of [`Pattern`]. At the end of every test the server is asked
//! for its version, and that must be the very next thing it says: this is how a transcript
//! without `<` proves silence.

use crate::pattern::Pattern;
use std::{fs, io, path::Path};

/// Whose answers are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// What the plain `<` lines say.
    Nuthatch,
    /// The memcached of Debian 12.
    Memcached1618,
    /// The memcached that nuthatch follows, but for the reasons given in `differences`.
    Memcached1645,
}

impl Dialect {
    const ALL: [Self; 3] = [Self::Nuthatch, Self::Memcached1618, Self::Memcached1645];

    /// The dialect of a memcached that says it has this version, if the transcripts know it.
    pub fn of_version(version: &str) -> Option<Self> {
        match version {
            "1.6.18" => Some(Self::Memcached1618),
            "1.6.45" => Some(Self::Memcached1645),
            _ => None,
        }
    }
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Test {
    /// The file it stands in.
    pub file: String,
    /// A sentence.
    pub title: String,
    /// Whether what is sent may be cut anywhere without changing what is answered.
    pub cuttable: bool,
    /// What happens, with the line numbers for failures.
    pub steps: Vec<(usize, Step)>,
}

/// One line of a conversation.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Pattern),
    /// Receive this answer.
    Expect(Expectation),
    /// Let this many seconds pass.
    Wait(u64),
    /// Close the connection; always the last step.
    Leave,
}

/// What must come next, in each dialect.
#[derive(Clone, Debug)]
pub struct Expectation {
    plain: Answer,
    exceptions: Vec<Exception>,
}

#[derive(Clone, Debug)]
struct Exception {
    dialect: Dialect,
    difference: String,
    answer: Answer,
}

/// What the server does.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It sends this.
    Bytes(Pattern),
    /// It closes the connection without another byte; the test ends here.
    Closed,
}

impl Expectation {
    /// The answer that this dialect gives.
    pub fn answer(&self, dialect: Dialect) -> &Answer {
        let exception = self
            .exceptions
            .iter()
            .find(|exception| exception.dialect == dialect);
        exception.map_or(&self.plain, |exception| &exception.answer)
    }

    /// The rows of `differences` that say why the dialects differ here.
    pub fn differences(&self) -> impl Iterator<Item = &str> {
        self.exceptions
            .iter()
            .map(|exception| exception.difference.as_str())
    }
}

/// All transcripts, each file as one list of tests.
///
/// # Errors
/// Files that cannot be read or understood, as `file:line: what`.
pub fn load() -> Result<Vec<Vec<Test>>, String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("wire");
    let listed = fs::read_dir(&directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let listed = listed.map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = listed.iter().map(fs::DirEntry::path).collect();
    paths.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wire")
    });
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        files.push(parse(&name, &text)?);
    }
    Ok(files)
}

/// The tests in one file.
///
/// # Errors
/// The first line that cannot be understood, as `file:line: what`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Test>, String> {
    let mut tests: Vec<Test> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let parsed = match (line.strip_prefix("== "), tests.last_mut()) {
            _ if line.is_empty() || line.starts_with('#') => Ok(()),
            (Some(title), _) => {
                tests.push(Test {
                    file: file.to_owned(),
                    title: title.to_owned(),
                    cuttable: true,
                    steps: Vec::new(),
                });
                Ok(())
            }
            (None, Some(test)) => add_line(test, number, line),
            (None, None) => Err("no test has begun".to_owned()),
        };
        parsed.map_err(|error| format!("{file}:{number}: {error}"))?;
    }
    for test in &mut tests {
        add_sentinel(test).map_err(|error| format!("{file}: {}: {error}", test.title))?;
    }
    Ok(tests)
}

fn add_line(test: &mut Test, number: usize, line: &str) -> Result<(), String> {
    let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(dialect) = Dialect::of_version(first) {
        return add_exception(test, dialect, rest);
    }
    if has_ended(test) {
        return Err("the test has ended already".to_owned());
    }
    let step = match first {
        ">" => Step::Send(Pattern::parse(rest)?),
        "wait" => Step::Wait(rest.parse().map_err(|error| format!("{rest}: {error}"))?),
        "leave" => Step::Leave,
        "in" if rest == "one piece" => {
            test.cuttable = false;
            return Ok(());
        }
        _ => Step::Expect(Expectation {
            plain: parse_answer(line)?,
            exceptions: Vec::new(),
        }),
    };
    test.steps.push((number, step));
    Ok(())
}

fn add_exception(test: &mut Test, dialect: Dialect, text: &str) -> Result<(), String> {
    let Some((_, Step::Expect(expectation))) = test.steps.last_mut() else {
        return Err("there is no answer before this to differ from".to_owned());
    };
    if expectation
        .exceptions
        .iter()
        .any(|exception| exception.dialect == dialect)
    {
        return Err("this version has its exception already".to_owned());
    }
    let (difference, answer) = text
        .split_once(' ')
        .ok_or("an id and an answer are missing")?;
    let answer = parse_answer(answer)?;
    let difference = difference.to_owned();
    expectation.exceptions.push(Exception {
        dialect,
        difference,
        answer,
    });
    Ok(())
}

fn parse_answer(text: &str) -> Result<Answer, String> {
    match (text, text.strip_prefix("< ")) {
        ("closed", _) => Ok(Answer::Closed),
        ("<", _) => Ok(Answer::Bytes(Pattern::default())),
        (_, Some(bytes)) => Ok(Answer::Bytes(Pattern::parse(bytes)?)),
        (_, None) => Err(format!("cannot read this line: {text}")),
    }
}

/// Whether no dialect goes on.
fn has_ended(test: &Test) -> bool {
    match test.steps.last() {
        Some((_, Step::Leave)) => true,
        Some((_, Step::Expect(last))) => Dialect::ALL
            .iter()
            .all(|dialect| matches!(last.answer(*dialect), Answer::Closed)),
        Some((_, Step::Send(_) | Step::Wait(_))) | None => false,
    }
}

fn add_sentinel(test: &mut Test) -> Result<(), String> {
    let Some((number, _)) = test.steps.last() else {
        return Err("an empty test".to_owned());
    };
    let number = *number;
    if has_ended(test) {
        return Ok(());
    }
    add_line(test, number, r"> version\r\n")?;
    add_line(test, number, r"< VERSION {version}\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse("x.wire", text).unwrap_err()
    }

    #[test]
    fn a_file_is_a_list_of_tests_each_with_a_sentinel() {
        let text = "# why\n\n== one\n> a\n< b\n1.6.18 row closed\nwait 2\n== two\nin one piece\n> c\nclosed\n";
        let tests = parse("x.wire", text).unwrap();
        let [one, two] = tests.as_slice() else {
            panic!("{tests:?}")
        };
        assert_eq!(
            (one.title.as_str(), one.steps.len(), one.cuttable),
            ("one", 5, true)
        );
        assert_eq!(
            (two.title.as_str(), two.steps.len(), two.cuttable),
            ("two", 2, false)
        );
        let (line, Step::Expect(expectation)) = &one.steps[1] else {
            panic!("{one:?}")
        };
        assert_eq!(
            (*line, expectation.differences().collect()),
            (5, vec!["row"])
        );
        assert!(matches!(
            expectation.answer(Dialect::Nuthatch),
            Answer::Bytes(_)
        ));
        assert!(matches!(
            expectation.answer(Dialect::Memcached1618),
            Answer::Closed
        ));
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        assert_eq!(refusal("> a\n"), "x.wire:1: no test has begun");
        assert_eq!(refusal("== t\n>a\n"), "x.wire:2: cannot read this line: >a");
        assert_eq!(refusal("== t\n"), "x.wire: t: an empty test");
        assert_eq!(
            refusal("== t\nclosed\n> a\n"),
            "x.wire:3: the test has ended already"
        );
        assert!(refusal("== t\n> a\n1.6.18 row < b\n").contains("no answer before this"));
        assert!(refusal("== t\n< a\n1.6.18 row < b\n1.6.18 row < b\n").contains("already"));
        assert!(refusal("== t\nleave\n> a\n").contains("ended already"));
        assert!(refusal("== t\nwait long\n").starts_with("x.wire:2: long:"));
    }

    #[test]
    fn every_title_is_used_once() {
        let files = load().unwrap();
        let mut titles: Vec<_> = files.iter().flatten().map(|test| &test.title).collect();
        titles.sort();
        let repeated: Vec<_> = titles
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .collect();
        assert!(repeated.is_empty(), "{repeated:?}");
    }
}
