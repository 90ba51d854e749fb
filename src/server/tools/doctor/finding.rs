//! [`Finding`]: what a check has found, why that matters, and what to do.

use crate::tools::paint::Paint;
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Somebody should think about it.
    Warn,
    /// It costs something now, or is not safe.
    Red,
}

/// What a check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// What was looked at; stable.
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    /// Empty where all is well.
    pub(super) why: String,
    /// A command, or where to put which value; empty where all is well.
    pub(super) fix: String,
}

impl Finding {
    pub(super) const fn ok(check: &'static str, found: String) -> Self {
        Self {
            check,
            level: Level::Ok,
            found,
            why: String::new(),
            fix: String::new(),
        }
    }

    pub(super) fn warn(check: &'static str, found: String, why: &str, fix: &str) -> Self {
        Self {
            level: Level::Warn,
            why: why.to_owned(),
            fix: fix.to_owned(),
            ..Self::ok(check, found)
        }
    }

    pub(super) fn red(check: &'static str, found: String, why: &str, fix: &str) -> Self {
        Self {
            level: Level::Red,
            ..Self::warn(check, found, why, fix)
        }
    }

    /// For people: a line, and where something is to be done two more.
    pub(super) fn text(&self, paint: Paint) -> String {
        let level = match self.level {
            Level::Ok => paint.green("ok  "),
            Level::Warn => paint.yellow("warn"),
            Level::Red => paint.red("RED "),
        };
        let line = format!("{level}  {:<12}{}\n", self.check, self.found);
        if self.level == Level::Ok {
            return line;
        }
        format!(
            "{line}{:18}why: {}\n{:18}fix: {}\n",
            "", self.why, "", self.fix
        )
    }

    pub(super) fn json(&self) -> Value {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Red => "red",
        };
        json!({
            "check": self.check,
            "level": level,
            "finding": self.found,
            "why": self.why,
            "fix": self.fix,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_well_takes_one_line() {
        let none = Paint::none();
        let ok = Finding::ok("swap", "none of it".to_owned());
        assert_eq!(ok.text(none), "ok    swap        none of it\n");
        let red = Finding::red("swap", "all of it".to_owned(), "slow", "sysctl");
        let expected = "RED   swap        all of it\n                  why: slow\n                  fix: sysctl\n";
        assert_eq!(red.text(none), expected);
        assert_eq!(red.json()["level"], "red");
    }
}
