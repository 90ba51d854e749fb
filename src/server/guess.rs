//! [`guess`]: which name somebody may have meant.

/// Names that are less alike are not worth a guess. It is clap's measure for flags.
const LIKENESS_MIN: f64 = 0.7;

/// A question to end the message about an unknown name with, if there is one like it.
pub(crate) fn guess<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|known| (strsim::jaro(name, known), known))
        .filter(|(likeness, _)| *likeness > LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, known)| format!("; did you mean {known:?}?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_alike_is_meant_and_nothing_by_nonsense() {
        let guess = |name| guess(name, ["memory-limit", "memory-file", "port"].into_iter());
        assert_eq!(guess("memory_limit"), "; did you mean \"memory-limit\"?");
        assert_eq!(guess("memroy-file"), "; did you mean \"memory-file\"?");
        assert_eq!(guess("namespace"), "");
        assert_eq!(guess(""), "");
    }
}
