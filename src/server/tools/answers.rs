//! Tells what servers have answered: as text or as JSON, and with which exit code.

use super::arguments::Answer;
use super::paint::Paint;
use super::{SCHEMA, print};
use crate::failure::Failure;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
}

impl Form {
    /// What `--json` asks for.
    pub(crate) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

/// What one server has answered.
pub(crate) trait Tell {
    /// Whether the text of several servers needs their names above it.
    const IS_HEADED: bool = true;

    /// For people, each line with its end.
    fn text(&self) -> String;
    /// For programs: what stands beside `"server"`.
    fn json(&self) -> Map<String, Value>;
}

/// Tells all answers. What went wrong is said on standard error, and makes it a failure.
pub(crate) fn tell<T: Tell>(answers: &[Answer<T>], form: Form) -> Result<(), Failure> {
    print(told(answers, form))?;
    failed(answers)
}

/// The same, but for what went wrong.
pub(crate) fn told<T: Tell>(answers: &[Answer<T>], form: Form) -> String {
    match form {
        Form::Text => text(answers, Paint::stdout()),
        Form::Json => format!("{}\n", document(answers)),
    }
}

/// Says of which servers it is done.
pub(crate) fn tell_done<T>(answers: &[Answer<T>], done: &str) -> Result<(), Failure> {
    for Answer { address, .. } in answers.iter().filter(|answer| answer.result.is_ok()) {
        print(format!("{address} {done}\n"))?;
    }
    failed(answers)
}

/// The failure that came first, with what went wrong everywhere.
pub(crate) fn failed<T>(answers: &[Answer<T>]) -> Result<(), Failure> {
    let mut errors = answers
        .iter()
        .filter_map(|answer| answer.result.as_ref().err());
    let Some(first) = errors.next() else {
        return Ok(());
    };
    let messages = errors.fold(first.to_string(), |messages, error| {
        format!("{messages}\n{error}")
    });
    Err(Failure::of_tool(first.exit_code(), messages))
}

/// With several servers, each below its name.
fn text<T: Tell>(answers: &[Answer<T>], paint: Paint) -> String {
    let mut text = String::new();
    for answer in answers {
        let Ok(told) = &answer.result else { continue };
        if T::IS_HEADED && answers.len() > 1 {
            let gap = if text.is_empty() { "" } else { "\n" };
            // Writing to memory does not fail.
            let _ = writeln!(text, "{gap}{}", paint.bold(&answer.address));
        }
        text.push_str(&told.text());
    }
    text
}

fn document<T: Tell>(answers: &[Answer<T>]) -> Value {
    let servers = answers.iter().map(|answer| {
        let mut told = match &answer.result {
            Ok(told) => told.json(),
            Err(error) => Map::from_iter([("error".to_owned(), error.to_string().into())]),
        };
        told.insert("server".to_owned(), answer.address.to_string().into());
        Value::Object(told)
    });
    let servers: Vec<Value> = servers.collect();
    json!({ "schema": SCHEMA, "servers": servers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::error::ToolError;

    struct Number(u32);

    impl Tell for Number {
        fn text(&self) -> String {
            format!("number {}\n", self.0)
        }

        fn json(&self) -> Map<String, Value> {
            Map::from_iter([("number".to_owned(), self.0.into())])
        }
    }

    fn answer(address: &str, number: Option<u32>) -> Answer<Number> {
        Answer {
            address: address.parse().unwrap(),
            result: number.map(Number).ok_or(ToolError::Usage("no")),
        }
    }

    #[test]
    fn several_servers_stand_below_their_names() {
        let paint = Paint::none();
        assert_eq!(text(&[answer("a:1", Some(1))], paint), "number 1\n");
        let all = [
            answer("a:1", Some(1)),
            answer("b:1", None),
            answer("c:1", Some(3)),
        ];
        assert_eq!(text(&all, paint), "a:1\nnumber 1\n\nc:1\nnumber 3\n");
        let expected = r#"{"schema":1,"servers":[{"number":1,"server":"a:1"},{"error":"no","server":"b:1"},{"number":3,"server":"c:1"}]}"#;
        assert_eq!(document(&all).to_string(), expected);
        assert!(failed(&all).is_err() && failed(&all[..1]).is_ok());
    }
}
