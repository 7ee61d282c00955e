//! A bar on the error stream of a terminal, for what takes long.

use crate::console::Looks;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::time::Duration;

/// A bar, or nothing where nobody sees it.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// One for what writes data too: where that goes to the same terminal, a bar would be drawn over it.
    pub fn beside_data(looks: Looks) -> Progress {
        if looks.output_is_terminal { Progress(None) } else { Progress::new(looks, None) }
    }

    /// One that ends at so many bytes, if that is known.
    pub fn new(looks: Looks, bytes_total: Option<u64>) -> Progress {
        if !looks.talk_is_terminal {
            return Progress(None);
        }
        let template = match bytes_total {
            Some(_) => "{elapsed} {wide_bar} {bytes}/{total_bytes} {msg}",
            None => "{elapsed} {spinner} {msg}",
        };
        let style = ProgressStyle::with_template(template).expect("it is a template");
        let bar = ProgressBar::with_draw_target(bytes_total, ProgressDrawTarget::stderr_with_hz(5));
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(Some(bar))
    }

    /// One that counts steps, of a number that may change.
    #[cfg(feature = "kafka")]
    pub fn of_steps(looks: Looks) -> Progress {
        let progress = Progress::new(looks, Some(0));
        if let Some(bar) = &progress.0 {
            let style = ProgressStyle::with_template("{elapsed} {wide_bar} {msg}");
            bar.set_style(style.expect("it is a template"));
        }
        progress
    }

    /// So many steps of so many are done.
    #[cfg(feature = "kafka")]
    pub fn at_step(&self, done: u64, of: u64, words: impl Display) {
        if let Some(bar) = &self.0 {
            bar.set_length(of);
            self.at(done, words);
        }
    }

    /// How far it is, in bytes and in words.
    pub fn at(&self, bytes: u64, words: impl Display) {
        if let Some(bar) = &self.0 {
            bar.set_position(bytes);
            bar.set_message(words.to_string());
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_for_terminals_and_not_over_data() {
        let looks = |talk_is_terminal, output_is_terminal| Looks {
            talk_is_terminal,
            output_is_terminal,
            ..Looks::default()
        };
        assert!(Progress::new(looks(false, false), Some(5)).0.is_none());
        assert!(Progress::beside_data(looks(true, true)).0.is_none());
        for bar in [
            Progress::new(looks(true, true), Some(5)),
            Progress::new(looks(true, false), None),
            Progress::beside_data(looks(true, false)),
        ] {
            assert!(bar.0.is_some());
            bar.at(3, "3 events");
            bar.end();
        }
    }
}
