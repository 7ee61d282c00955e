//! A bar on the error stream of a terminal, for what takes long.

use crate::console::Looks;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fmt::Display;
use std::time::Duration;

/// A bar, or nothing where nobody sees it.
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// One that ends at so many bytes, if that is known.
    pub fn new(looks: Looks, bytes_total: Option<u64>) -> Progress {
        // Where data goes to the same terminal, a bar would be drawn over it.
        if !looks.talk_is_terminal || looks.output_is_terminal {
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
