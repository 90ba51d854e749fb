//! The status page: one HTML file with the numbers in it as they are now, for every browser. Its script keeps them up
//! to date and draws them.
//!
//! In the template, a tag names what goes behind it or into it, and the script reads the same names:
//! `data-path` and `data-format`, a number; `data-rows` and `data-columns`, a table of them; `data-value`, the value of
//! a bar; `data-class`, a word that styles it; `data-show`, hidden unless there is something. The script alone draws
//! `data-bars` and `data-ratios`.

use crate::readable::{Unit, escaped};
use crate::status::Status;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const TEMPLATE: &str = include_str!("page/index.html");

/// What goes into the place of a comment: styles and scripts.
const PARTS: [(&str, &str, &str); 4] = [
    (
        "!--uplot.css-->",
        "style",
        include_str!("page/uplot/uPlot.min.css"),
    ),
    ("!--page.css-->", "style", include_str!("page/page.css")),
    (
        "!--uplot.js-->",
        "script",
        include_str!("page/uplot/uPlot.iife.min.js"),
    ),
    ("!--page.js-->", "script", include_str!("page/page.js")),
];

/// Bytes of the page, about: what is beyond that is a table of many rows.
const PAGE_LEN_MAX: usize = 128 << 10;

/// Where the settings go.
const SETTINGS: &str = "!--settings-->";

/// What the page may do: run and show what is in it, and ask where it comes from. Not even a script that somebody
/// managed to write into it would run.
pub(crate) static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hashes = |wanted: &str| {
        let texts = PARTS.iter().filter(|(_, tag, _)| *tag == wanted);
        let hashes = texts.map(|(_, _, text)| {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text));
            format!(" 'sha256-{hash}'")
        });
        hashes.collect::<String>()
    };
    format!(
        "default-src 'none'; script-src{}; style-src{}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        hashes("script"),
        hashes("style"),
    )
});

/// The page with the numbers in it.
///
/// # Errors
/// The numbers cannot be told as JSON.
pub(crate) fn render(status: &Status) -> Result<String, serde_json::Error> {
    let told = serde_json::to_value(status)?;
    let mut page = String::with_capacity(PAGE_LEN_MAX);
    // Each ends with a tag or a comment, but for what is behind the last one.
    for piece in TEMPLATE.split_inclusive('>') {
        match piece.rsplit_once('<') {
            Some((text, tag)) => {
                page.push_str(text);
                put(tag, &told, &mut page);
            }
            None => page.push_str(piece),
        }
    }
    Ok(page)
}

/// Writes a tag, of which the first angle bracket is gone, and what belongs into it and behind it.
fn put(tag: &str, told: &Value, page: &mut String) {
    if let Some((_, name, text)) = PARTS.iter().find(|(place, ..)| *place == tag) {
        page.extend(["<", name, ">", text, "</", name, ">"]);
        return;
    }
    if tag == SETTINGS {
        put_settings(told, page);
        return;
    }
    let at = |name| attribute(tag, name).and_then(|path| told.pointer(path));
    page.extend(["<", tag.trim_end_matches('>')]);
    if let Some(value) = at("data-value") {
        page.extend([" value=\"", &escaped(&value.to_string()), "\""]);
    }
    if let Some(Value::String(class)) = at("data-class") {
        page.extend([" class=\"", &escaped(class), "\""]);
    }
    if attribute(tag, "data-show").is_some() && !at("data-show").is_some_and(is_something) {
        page.push_str(" hidden");
    }
    page.push('>');
    if let Some(path) = attribute(tag, "data-path") {
        let value = told.pointer(path).unwrap_or(&Value::Null);
        let unit = Unit::named(attribute(tag, "data-format").unwrap_or_default());
        page.push_str(&escaped(&unit.write(value)));
    }
    if let Some(rows) = at("data-rows") {
        put_rows(
            rows,
            attribute(tag, "data-columns").unwrap_or_default(),
            page,
        );
    }
}

/// The value of an attribute, if the tag has it.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = tag.split_once(name)?;
    let (value, _) = behind.strip_prefix("=\"")?.split_once('"')?;
    Some(value)
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(values) => !values.is_empty(),
        Value::Object(values) => !values.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    }
}

/// A row for each member of a list or an object, whose name then is `name`, and itself `value`.
fn put_rows(rows: &Value, columns: &str, page: &mut String) {
    if !is_something(rows) {
        let width = columns.split(' ').count().to_string();
        page.extend(["<tr><td colspan=\"", &width, "\">none yet</td></tr>"]);
        return;
    }
    match rows {
        Value::Array(rows) => {
            for row in rows {
                put_row(|column| row.get(column), columns, page);
            }
        }
        Value::Object(rows) => {
            for (name, row) in rows {
                let name = Value::String(name.clone());
                let cell = |column: &str| match column {
                    "name" => Some(&name),
                    "value" => Some(row),
                    column => row.get(column),
                };
                put_row(cell, columns, page);
            }
        }
        _ => {}
    }
}

fn put_row<'a>(cell: impl Fn(&str) -> Option<&'a Value>, columns: &str, page: &mut String) {
    page.push_str("<tr>");
    for column in columns.split(' ') {
        let (name, unit) = column.split_once(':').unwrap_or((column, ""));
        let text = Unit::named(unit).write(cell(name).unwrap_or(&Value::Null));
        // What a row is of, for those who have it read out.
        let (begin, end) = if unit == "text" {
            ("<th scope=\"row\">", "</th>")
        } else {
            ("<td>", "</td>")
        };
        page.extend([begin, &escaped(&text), end]);
    }
    page.push_str("</tr>");
}

/// They stay as they are, so the script need not know them.
fn put_settings(told: &Value, page: &mut String) {
    let settings = told.get("settings").and_then(Value::as_object);
    let mut settings: Vec<_> = settings.into_iter().flatten().collect();
    // First what somebody has given.
    let is_default = |setting: &Value| setting.get("origin").is_some_and(|o| o == "default");
    settings.sort_by_key(|(_, setting)| is_default(setting));
    for (name, setting) in settings {
        let text = |name| setting.get(name).and_then(Value::as_str);
        let value = match setting.get("value") {
            None | Some(Value::Null) => text("default").unwrap_or("–").to_owned(),
            Some(Value::Array(values)) => {
                let values: Vec<_> = values.iter().map(|one| Unit::Text.write(one)).collect();
                values.join(", ")
            }
            Some(value) => Unit::Text.write(value),
        };
        let origin = text("origin").unwrap_or_default();
        let from = text("variable")
            .or_else(|| text("file"))
            .unwrap_or_default();
        let cells = [name, value.as_str(), origin, from].map(escaped);
        let [name, value, origin, from] = &cells;
        page.extend([
            "<tr class=\"",
            origin,
            "\"><th scope=\"row\">",
            name,
            "</th><td>",
        ]);
        page.extend([value, "</td><td>", origin, " ", from, "</td></tr>"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn filled(tag: &str, told: &Value) -> String {
        let mut page = String::new();
        put(tag, told, &mut page);
        page
    }

    #[test]
    fn a_tag_gets_the_value_that_it_names() {
        let told = json!({"a": {"b": 1280}, "list": [], "none": null, "name": "<i>"});
        for (tag, expected) in [
            ("p>", "<p>"),
            ("i data-path=\"/a/b\" data-format=\"bytes\">", "1.3 KiB"),
            ("i data-path=\"/none\" data-format=\"bytes\">", "–"),
            ("i data-path=\"/none/at/all\" data-format=\"bytes\">", "–"),
            ("i data-path=\"/name\" data-format=\"text\">", "&lt;i&gt;"),
            (
                "progress data-value=\"/a/b\">",
                "<progress data-value=\"/a/b\" value=\"1280\">",
            ),
            (
                "b data-class=\"/name\">",
                "<b data-class=\"/name\" class=\"&lt;i&gt;\">",
            ),
            ("p data-show=\"/none\">", "<p data-show=\"/none\" hidden>"),
            ("p data-show=\"/list\">", "<p data-show=\"/list\" hidden>"),
            (
                "p data-show=\"/nothing\">",
                "<p data-show=\"/nothing\" hidden>",
            ),
            ("p data-show=\"/a\">", "<p data-show=\"/a\">"),
        ] {
            let page = filled(tag, &told);
            assert!(page.ends_with(expected), "{page}");
        }
    }

    #[test]
    fn names_in_a_table_are_no_html() {
        let hostile = "<script>alert(1)</script>\"'&";
        let safe = "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;";
        let tag = "tbody data-rows=\"/rows\" data-columns=\"name:text count:count\">";
        let row = format!("<tr><th scope=\"row\">{safe}</th><td>1,000</td></tr>");
        for rows in [
            json!([{"name": hostile, "count": 1000}]),
            json!({hostile: {"count": 1000}}),
        ] {
            let page = filled(tag, &json!({ "rows": rows }));
            assert!(page.ends_with(&row), "{page}");
        }
        let page = filled(tag, &json!({"rows": []}));
        let none = "<tr><td colspan=\"2\">none yet</td></tr>";
        assert!(page.ends_with(none), "{page}");
        let settings = json!({hostile: {"value": [hostile], "origin": "file", "file": hostile}});
        let page = filled(SETTINGS, &json!({ "settings": settings }));
        let row = format!(
            "<tr class=\"file\"><th scope=\"row\">{safe}</th><td>{safe}</td><td>file {safe}</td>"
        );
        assert_eq!(page, row + "</tr>");
    }

    #[test]
    fn the_template_names_what_there_is() {
        use crate::clock::Clock;
        use crate::config::Config;
        use crate::flags::Flags;
        use crate::shared::Shared;
        use crate::telemetry::LogLevel;
        use clap::Parser as _;
        use std::sync::atomic::Ordering;
        let flags = Flags::try_parse_from(["nuthatch", "-t", "1", "--show-keys"]).unwrap();
        let config = Config::from_flags(&flags).unwrap();
        let shared = Shared::new(&config, Clock::manual(), LogLevel::default());
        shared.draining.store(true, Ordering::Relaxed);
        let told = serde_json::to_value(Status::read(&shared)).unwrap();
        for name in [
            "data-path",
            "data-rows",
            "data-value",
            "data-class",
            "data-show",
            "data-bars",
            "data-ratios",
        ] {
            let begin = format!("{name}=\"");
            for rest in TEMPLATE.split(&begin).skip(1) {
                let (path, _) = rest.split_once('"').unwrap();
                assert!(told.pointer(path).is_some(), "{path}");
            }
        }
        for (place, ..) in PARTS {
            assert_eq!(TEMPLATE.matches(&format!("<{place}")).count(), 1, "{place}");
        }
    }
}
