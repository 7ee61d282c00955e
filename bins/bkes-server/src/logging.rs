//! The log: lines for standard error, which nobody waits for and no failure reaches.
//!
//! Lines are put into a bounded queue, and a thread of its own writes them. So a reader of the log that is gone, a full disk and a
//! reader that stands still cost log lines and nothing else; how many were lost is logged as soon as lines can be written again. Whatever
//! ends the process calls [`LogQueue::flush`] first, which waits for a bounded time.
//!
//! This file does not know what is logged.

use crate::log_filter;
use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Bytes of lines that wait to be written: some 8,000 lines, what a server at `debug` says in a second.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// How long the end of the process waits for lines that are not written yet.
const FLUSH_WAIT: Duration = Duration::from_millis(500);

/// Lines on their way to an output. Cheap to clone.
#[derive(Clone)]
pub struct LogQueue(Arc<Shared>);

struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a line was taken that is not written yet.
    is_writing: bool,
    /// Lines that were not written, and of which nothing was logged yet.
    lost: u64,
}

/// What became of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Written,
    Lost,
}

impl LogQueue {
    /// Lines that a thread of its own writes to `output`. Without such a thread they stay in the queue.
    fn to(output: impl Write + Send + 'static) -> io::Result<LogQueue> {
        let queue = LogQueue(Arc::new(Shared { waiting: Mutex::default(), changed: Condvar::new() }));
        let for_thread = queue.clone();
        let run = move || for_thread.write_all_to(output);
        std::thread::Builder::new().name("bkes-log".into()).spawn(run)?;
        Ok(queue)
    }

    /// Logs a line as it stands.
    pub fn line(&self, line: &str) {
        self.put(format!("{line}\n").into_bytes());
    }

    /// Waits until everything is written, for a bounded time.
    pub fn flush(&self) {
        let is_left = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        drop(self.0.changed.wait_timeout_while(self.lock(), FLUSH_WAIT, is_left));
    }

    fn put(&self, line: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.bytes + line.len() > WAITING_BYTES_MAX {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += line.len();
        waiting.lines.push_back(line);
        drop(waiting);
        self.0.changed.notify_all();
    }

    fn write_all_to(&self, mut output: impl Write) {
        loop {
            let line = self.take();
            let written = output.write_all(&line).and_then(|()| output.flush());
            let outcome = if written.is_ok() { Outcome::Written } else { Outcome::Lost };
            let lost = self.note(line.len(), outcome);
            if lost > 0 {
                tracing::warn!("{lost} lines of this log could not be written and are lost");
            }
        }
    }

    /// The next line, as soon as there is one.
    fn take(&self) -> Vec<u8> {
        let mut waiting = self.lock();
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.is_writing = true;
                return line;
            }
            waiting = self.0.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Notes what became of a line of so many bytes; how many lines were lost, if that can be logged now.
    fn note(&self, bytes: usize, outcome: Outcome) -> u64 {
        let mut waiting = self.lock();
        waiting.is_writing = false;
        waiting.bytes -= bytes;
        let lost = match outcome {
            Outcome::Written => std::mem::take(&mut waiting.lost),
            Outcome::Lost => {
                waiting.lost += 1;
                0
            }
        };
        drop(waiting);
        self.0.changed.notify_all();
        lost
    }

    /// What lies under the lock is changed in steps that cannot panic.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A writer of whole events: the subscriber gives each in one piece.
impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.put(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogQueue {
    type Writer = LogQueue;

    fn make_writer(&self) -> LogQueue {
        self.clone()
    }
}

/// Logs to standard error from now on, panics too.
pub fn start() -> io::Result<LogQueue> {
    let queue = LogQueue::to(io::stderr())?;
    let asked = std::env::var_os("RUST_LOG");
    let asked = log_filter::read(asked.as_deref());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(is_coloured(io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref()))
        .with_writer(queue.clone())
        .log_internal_errors(false)
        .finish();
    let filter: Targets = asked.directives.parse().map_err(io::Error::other)?;
    subscriber.with(filter).init();
    let for_panics = queue.clone();
    std::panic::set_hook(Box::new(move |panic| {
        for_panics.line(&words_of(panic));
        // The process may end right after a panic.
        for_panics.flush();
    }));
    if let Some(complaint) = asked.complaint {
        tracing::warn!("{complaint}");
    }
    Ok(queue)
}

/// Colours are for people at a terminal who have not asked for none (<https://no-color.org>).
fn is_coloured(is_terminal: bool, no_color: Option<&std::ffi::OsStr>) -> bool {
    is_terminal && no_color.is_none_or(|value| value.is_empty())
}

fn words_of(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    format!("thread {:?}: {panic}{trace}", thread.name().unwrap_or("without a name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    /// An output that takes a line whenever it is let, or fails.
    struct Output {
        lets: Receiver<io::Result<()>>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Write for Output {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.lets.recv().unwrap_or(Ok(()))?;
            self.lines.lock().expect("no panic").push(String::from_utf8_lossy(line).into_owned());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Lines = Arc<Mutex<Vec<String>>>;

    fn queue() -> (LogQueue, SyncSender<io::Result<()>>, Lines) {
        let ((let_one, lets), lines) = (sync_channel(100), Lines::default());
        let queue = LogQueue::to(Output { lets, lines: Arc::clone(&lines) }).expect("a thread");
        (queue, let_one, lines)
    }

    #[test]
    fn an_output_that_stands_still_holds_up_nobody_and_lines_beyond_the_bound_are_counted() {
        let (queue, let_one, lines) = queue();
        let long = "x".repeat(100_000);
        for _ in 0..20 {
            queue.line(&long);
        }
        let waiting = queue.lock();
        assert!(waiting.bytes <= WAITING_BYTES_MAX, "{}", waiting.bytes);
        assert_eq!(waiting.lost, 10, "ten of twenty fit");
        drop(waiting);
        let began = Instant::now();
        queue.flush();
        assert!(began.elapsed() >= FLUSH_WAIT, "it waits as long as it may, and no longer");
        drop(let_one);
        queue.flush();
        assert_eq!(lines.lock().expect("no panic").len(), 10);
        assert_eq!(queue.lock().lost, 0, "what was lost is logged");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_and_the_next_one_is_not() {
        let (queue, let_one, lines) = queue();
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::StorageFull, io::ErrorKind::WouldBlock] {
            let_one.send(Err(kind.into())).expect("it listens");
            queue.line("lost");
        }
        queue.flush();
        assert_eq!(queue.lock().lost, 3);
        let_one.send(Ok(())).expect("it listens");
        queue.line("written");
        queue.flush();
        assert_eq!(*lines.lock().expect("no panic"), ["written\n"]);
    }

    #[test]
    fn colours_are_for_terminals_alone_and_not_for_who_wants_none() {
        assert!(is_coloured(true, None) && is_coloured(true, Some(OsStr::new(""))));
        assert!(!is_coloured(true, Some(OsStr::new("1"))) && !is_coloured(false, None));
    }
}
