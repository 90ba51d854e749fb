//! [`Progress`]: a bar on standard error where that is a terminal; nothing elsewhere, or without the feature `cli`.

#[cfg(feature = "cli")]
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

#[cfg(feature = "cli")]
const TEMPLATE: &str = "{wide_bar} {pos}/{len} items, {elapsed}, {eta} left";
#[cfg(feature = "cli")]
const TEMPLATE_WITHOUT_LEN: &str = "{spinner} {pos} items, {elapsed}";
#[cfg(feature = "cli")]
const TEMPLATE_OF_TASK: &str = "{spinner} {msg}: {elapsed}";
#[cfg(feature = "cli")]
const TICK: std::time::Duration = std::time::Duration::from_millis(100);

/// How many items are done of how many there are, about.
#[derive(Debug)]
pub(crate) struct Progress {
    #[cfg(feature = "cli")]
    bar: ProgressBar,
}

impl Progress {
    /// `item_count` is a guess: items come and go. Without one there is a count and no bar.
    #[cfg(feature = "cli")]
    pub(crate) fn new(item_count: Option<u64>) -> Self {
        // A target that draws nothing if standard error is no terminal.
        let bar = ProgressBar::with_draw_target(item_count, ProgressDrawTarget::stderr());
        let template = if item_count.is_some() {
            TEMPLATE
        } else {
            TEMPLATE_WITHOUT_LEN
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Something that takes its time and cannot be counted.
    #[cfg(feature = "cli")]
    pub(crate) fn of_task(what: String) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE_OF_TASK) {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Self { bar }
    }

    /// Shows nothing.
    #[cfg(not(feature = "cli"))]
    pub(crate) fn of_task(_what: String) -> Self {
        Self {}
    }

    /// Shows nothing.
    #[cfg(not(feature = "cli"))]
    pub(crate) const fn new(_item_count: Option<u64>) -> Self {
        Self {}
    }

    /// One item more is done.
    #[cfg_attr(
        not(feature = "cli"),
        expect(clippy::unused_self, reason = "there is no bar")
    )]
    pub(crate) fn item(&self) {
        #[cfg(feature = "cli")]
        self.bar.inc(1);
    }

    /// Gives the line back.
    #[cfg_attr(
        not(feature = "cli"),
        expect(clippy::unused_self, reason = "there is no bar")
    )]
    pub(crate) fn finish(&self) {
        #[cfg(feature = "cli")]
        self.bar.finish_and_clear();
    }
}
