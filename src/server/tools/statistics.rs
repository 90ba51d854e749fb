//! [`Statistics`]: what a server answers to `stats`, as names and values.

use super::connection::Connection;
use super::error::ToolError;
use serde_json::{Map, Value};

/// Lines of an answer: those of `stats conns` with 10,000 connections, twice.
const LINES_MAX: usize = 1 << 17;

/// Names and values, in the server's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statistics(Vec<(String, String)>);

impl Statistics {
    /// Asks for the general ones, or for those of a name.
    pub(crate) fn ask(connection: &mut Connection, name: &str) -> Result<Self, ToolError> {
        let command = ["stats ", name].concat();
        connection.ask(command.trim_end())?;
        let mut all = Vec::new();
        while !matches!(connection.same_line(), b"END" | b"RESET" | b"OK") {
            let line = connection.last_line();
            let stat = line.strip_prefix("STAT ");
            // A value may be empty.
            let stat = stat.map(|stat| stat.split_once(' ').unwrap_or((stat, "")));
            let Some((name, value)) = stat else {
                return Err(refused(connection));
            };
            if all.len() >= LINES_MAX {
                return Err(connection.wrong("its list of statistics does not end"));
            }
            all.push((name.to_owned(), value.to_owned()));
            connection.line()?;
        }
        Ok(Self(all))
    }

    /// Each name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(found, value)| (found == name).then_some(value))
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }

    /// As an object: numbers are numbers.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let values = self.iter();
        values
            .map(|(name, value)| (name.to_owned(), json_of(value)))
            .collect()
    }

    /// Those of `GROUP:field` by group, as long as the lines of a group stand together.
    pub(crate) fn groups(&self) -> Vec<(&str, Self)> {
        let mut groups: Vec<(&str, Self)> = Vec::new();
        for (name, value) in self.iter() {
            let Some((group, field)) = name.rsplit_once(':') else {
                continue;
            };
            let stat = (field.to_owned(), value.to_owned());
            match groups.last_mut() {
                Some((last, stats)) if *last == group => stats.0.push(stat),
                _ => groups.push((group, Self(vec![stat]))),
            }
        }
        groups
    }
}

fn refused(connection: &Connection) -> ToolError {
    if connection.same_line().starts_with(b"CLIENT_ERROR") {
        connection.wrong("the daemon's flags decide about that: see nuthatch --help")
    } else {
        connection.out_of_step()
    }
}

/// A value as JSON has it.
fn json_of(value: &str) -> Value {
    if let Ok(number) = value.parse::<u64>() {
        return number.into();
    }
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    // `rusage_user`; not versions, and not what only some parsers take for a number.
    let is_decimal = value
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    match value.parse::<f64>() {
        Ok(number) if is_decimal => number.into(),
        _ => value.into(),
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Statistics {
    fn from(stats: [(&str, &str); N]) -> Self {
        let stats = stats.into_iter();
        Self(
            stats
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::connection::{ANSWER_PATIENCE, scripted};
    use crate::tools::credentials::Credentials;

    fn asked(answer: String) -> Result<Statistics, ToolError> {
        let (address, server) = scripted::serve(vec![("stats x\r\n", answer.into_bytes())]);
        let found = Statistics::ask(
            &mut Connection::open(&address, &Credentials::default(), ANSWER_PATIENCE)?,
            "x",
        );
        server.join().unwrap();
        found
    }

    #[test]
    fn an_answer_is_names_and_values() {
        let found = asked("STAT a 1\r\nSTAT b two words\r\nSTAT c \r\nEND\r\n".into()).unwrap();
        assert_eq!(found, [("a", "1"), ("b", "two words"), ("c", "")].into());
        assert_eq!((found.number("a"), found.number("b")), (Some(1), None));
        assert_eq!(asked("RESET\r\n".into()).unwrap(), Statistics::default());
        let refused = asked("CLIENT_ERROR no keys\r\n".into())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("\"CLIENT_ERROR no keys\": the daemon's flags"),
            "{refused}"
        );
        let unknown = asked("ERROR\r\n".into()).unwrap_err().to_string();
        assert!(unknown.contains("does not know `stats x`"), "{unknown}");
        let strange = asked("STAT a 1\r\nVALUE\r\n".into())
            .unwrap_err()
            .to_string();
        assert!(strange.contains("is it a memcached?"), "{strange}");
    }

    #[test]
    fn an_answer_has_a_longest_length() {
        for (count, is_right) in [(LINES_MAX, true), (LINES_MAX + 1, false)] {
            let lines = "STAT a 1\r\n".repeat(count);
            assert_eq!(asked(lines + "END\r\n").is_ok(), is_right, "{count}");
        }
    }

    #[test]
    fn numbers_are_numbers_in_json() {
        let of = |value: &str| json_of(value).to_string();
        for number in ["1", "18446744073709551615", "-1", "0.123456"] {
            assert_eq!(of(number), number);
        }
        for text in ["1.6.45-nuthatch", "1.6.45", "", "inf", "NaN", "1e5", "yes"] {
            assert_eq!(of(text), format!("{text:?}"));
        }
    }

    #[test]
    fn groups_are_what_stands_before_the_colon() {
        let found: Statistics = [
            ("a:b:get", "1"),
            ("a:b:set", "3"),
            ("c:get", "2"),
            ("x", "4"),
        ]
        .into();
        let groups = found.groups();
        assert_eq!(
            groups,
            [
                ("a:b", [("get", "1"), ("set", "3")].into()),
                ("c", [("get", "2")].into())
            ]
        );
    }
}
