//! Lines as chunks: events of one aggregate for one append.
//!
//! An append of several events, or one with an id, is a chunk of its own. Single events that follow each other share one. An append of which
//! lines are missing is an error: what was all or nothing stays so.

use crate::byte_argument::spelled;
use crate::exit::{Code, Ended};
use crate::json_event::{ExportEnd, ExportLine, LineEvent};
use crate::json_lines::JsonLines;
use crate::limits::{IMPORT_APPEND_BYTES_MAX, IMPORT_APPEND_EVENTS_MAX, IMPORT_EVENT_BYTES};
use bkes_api::{AppendId, BatchPlace, EventContent, Key, Order};
use bkes_core::limits::BATCH_BYTES_MAX;
use bkes_core::marker::is_reserved_name;

/// Events of one aggregate that follow each other, for one append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// The aggregate.
    pub key: Key,
    /// The order of the first.
    pub first: Order,
    /// The events; at least one.
    pub events: Vec<EventContent>,
    /// The id of the append that they were.
    pub id: Option<AppendId>,
    /// The place of the last in the append that they were, if that had several.
    last_place: Option<BatchPlace>,
    bytes: usize,
}

/// A line of an import: its key and order are there.
struct Line {
    key: Key,
    order: Order,
    content: EventContent,
    id: Option<AppendId>,
    place: Option<BatchPlace>,
}

impl Chunk {
    fn of(line: Line) -> Chunk {
        let Line { key, order, content, id, place } = line;
        let bytes = content.bytes();
        Chunk { key, first: order, events: vec![content], id, last_place: place, bytes }
    }

    /// What it takes in memory.
    pub fn memory_bytes(&self) -> usize {
        self.bytes + self.events.len() * IMPORT_EVENT_BYTES
    }

    /// The place that an event of it had in its append, if that had several.
    pub fn place(&self, index: usize) -> Option<BatchPlace> {
        let i = u32::try_from(index).ok()?.checked_add(1)?;
        self.last_place.map(|last| BatchPlace { i, count: last.count })
    }

    /// The order after its last event, if there is one.
    fn next(&self) -> Option<Order> {
        self.first.plus(self.events.len() as u64)
    }

    /// Takes a line in, if it belongs here; else gives it back.
    fn take(&mut self, line: Line) -> Option<Line> {
        let belongs = match (self.last_place, line.place) {
            (Some(last), Some(place)) => place.i == last.i + 1 && place.count == last.count,
            (None, None) => {
                self.id.is_none()
                    && self.events.len() < IMPORT_APPEND_EVENTS_MAX
                    && self.bytes + line.content.bytes() <= IMPORT_APPEND_BYTES_MAX
            }
            _ => false,
        };
        let goes_on = line.key == self.key && self.next() == Some(line.order);
        if !belongs || !goes_on || line.id.is_some() {
            return Some(line);
        }
        self.bytes += line.content.bytes();
        self.events.push(line.content);
        self.last_place = line.place;
        None
    }
}

/// Reads chunks.
pub struct Chunks<'a> {
    lines: JsonLines<'a>,
    /// What is read of the next one.
    begun: Option<Chunk>,
    dropped_headers: u64,
    /// Events since the end of an export, or since the first line.
    events: u64,
    /// Whether the last line was the end of an export.
    is_at_end: bool,
    /// Aggregates that exports have left out.
    left_out: u64,
    /// What the end of an export says of lines that are not there.
    missing: Option<String>,
}

impl<'a> Chunks<'a> {
    /// Those of these lines.
    pub fn new(lines: JsonLines<'a>) -> Chunks<'a> {
        let (begun, dropped_headers, events, is_at_end, left_out) = (None, 0, 0, false, 0);
        Chunks { lines, begun, dropped_headers, events, is_at_end, left_out, missing: None }
    }

    /// The next one; `None` after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Chunk>, Ended> {
        while let Some(line) = self.next_line()? {
            let Some(chunk) = &mut self.begun else {
                self.begun = Some(Chunk::of(line));
                continue;
            };
            if let Some(line) = chunk.take(line) {
                self.check_order(&line)?;
                let whole = self.begun.replace(Chunk::of(line));
                return self.whole(whole);
            }
            // Which would hold up to 1,000 lines of up to 256 MiB.
            if chunk.events.len() > 1 && chunk.bytes > BATCH_BYTES_MAX {
                return Err(self.lines.wrong(format_args!(
                    "the append of aggregate {} with order {} has more than {BATCH_BYTES_MAX} bytes: no store takes it",
                    spelled(chunk.key.bytes()),
                    chunk.first
                )));
            }
        }
        let last = self.begun.take();
        self.whole(last)
    }

    /// The chunk, if it is a whole append: a part of one, of lines that were cut, is not stored.
    fn whole(&self, chunk: Option<Chunk>) -> Result<Option<Chunk>, Ended> {
        let Some(Chunk { key, first, events, last_place: Some(place), .. }) = &chunk else {
            return Ok(chunk);
        };
        let (count, there) = (place.count as usize, events.len());
        if count == there {
            return Ok(chunk);
        }
        Err(self.lines.wrong(format_args!(
            "the append of aggregate {} with order {first} has {count} events, and only {there} lines of it are there",
            spelled(key.bytes())
        )))
    }

    /// Headers that were left out, since their names are reserved.
    pub fn dropped_headers(&self) -> u64 {
        self.dropped_headers
    }

    /// Bytes that were read.
    pub fn bytes(&self) -> u64 {
        self.lines.bytes()
    }

    /// That every line belonged to an export that was written to its end, and is there.
    pub fn check_end(&self) -> Result<(), Ended> {
        let left_out = self.left_out;
        let what = match &self.missing {
            Some(missing) => missing.clone(),
            None if !self.is_at_end => "its last line, which names its end, is missing".to_owned(),
            None if left_out > 0 => {
                format!("{left_out} aggregates that are split over partitions were left out of it")
            }
            None => return Ok(()),
        };
        let ended = Ended::new(Code::InputOutput, format_args!("the export is not whole: {what}"));
        Err(ended
            .advise("What is there of it was imported; --partial is for lines that are no whole export."))
    }

    fn end(&mut self, ExportEnd { events, left_out, .. }: ExportEnd) {
        let read = std::mem::take(&mut self.events);
        self.is_at_end = true;
        self.left_out = self.left_out.saturating_add(left_out);
        if events != read {
            self.missing
                .get_or_insert_with(|| format!("it has {events} events, and {read} lines of it are there"));
        }
    }

    fn next_line(&mut self) -> Result<Option<Line>, Ended> {
        let event = loop {
            match self.lines.next_of_export()? {
                None => return Ok(None),
                Some(ExportLine::Event(event)) => break event,
                Some(ExportLine::End(end)) => self.end(end),
            }
        };
        (self.events, self.is_at_end) = (self.events + 1, false);
        let LineEvent { key, order, mut content, append_id, batch } = event;
        let key = key.ok_or_else(|| self.lines.wrong("key is missing"))?;
        let order = order.ok_or_else(|| self.lines.wrong("order is missing: an import keeps the orders"))?;
        let count = content.headers.len();
        content.headers.retain(|header| !is_reserved_name(&header.name));
        self.dropped_headers += (count - content.headers.len()) as u64;
        Ok(Some(Line { key, order, content, id: append_id, place: batch }))
    }

    /// Orders of an aggregate rise one by one. Where another aggregate came in between, the store says whether they do.
    fn check_order(&self, line: &Line) -> Result<(), Ended> {
        let before = self.begun.as_ref().filter(|chunk| chunk.key == line.key).and_then(Chunk::next);
        match before.filter(|before| *before != line.order) {
            None => Ok(()),
            Some(expected) => Err(self.lines.wrong(format_args!(
                "aggregate {} goes on at order {}, where {expected} was to follow",
                spelled(line.key.bytes()),
                line.order
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key, first order, number of events and id of each chunk.
    fn chunks(text: &str) -> Result<Vec<(String, u64, usize, bool)>, Ended> {
        let mut input = text.as_bytes();
        let mut chunks = Chunks::new(JsonLines::new(&mut input, "x"));
        let mut found = Vec::new();
        while let Some(chunk) = chunks.next_chunk()? {
            found.push((chunk.key.to_string(), chunk.first.0, chunk.events.len(), chunk.id.is_some()));
        }
        Ok(found)
    }

    fn line(key: &str, order: usize, more: &str) -> String {
        format!("{{\"key\":\"{key}\",\"order\":{order},\"value\":\"v\"{more}}}\n")
    }

    #[test]
    fn appends_stay_whole_and_single_events_share_one() {
        let place = |index, count| format!(",\"batch\":{{\"index\":{index},\"count\":{count}}}");
        let text = [
            line("a", 0, ""),
            line("a", 1, ""),
            line("a", 2, &(place(1, 2) + ",\"append_id\":\"i\"")),
            line("a", 3, &place(2, 2)),
            line("a", 4, &place(1, 2)),
            line("a", 5, &place(2, 2)),
            line("a", 6, ""),
            line("a", 7, ",\"append_id\":\"j\""),
            line("a", 8, ""),
            line("b", 0, ""),
            line("a", 9, ""),
        ];
        let expected = [
            ("a", 0, 2, false),
            ("a", 2, 2, true),
            ("a", 4, 2, false),
            ("a", 6, 1, false),
            ("a", 7, 1, true),
            ("a", 8, 1, false),
            ("b", 0, 1, false),
            ("a", 9, 1, false),
        ];
        let found = chunks(&text.concat()).expect("they are right");
        let found: Vec<_> =
            found.iter().map(|(key, first, count, id)| (key.as_str(), *first, *count, *id)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_part_of_an_append_is_refused_wherever_it_was_cut() {
        let place = |order, index| line("a", order, &format!(",\"batch\":{{\"index\":{index},\"count\":3}}"));
        let whole = [place(0, 1), place(1, 2), place(2, 3), line("a", 3, "")];
        assert_eq!(chunks(&whole.concat()).map(|chunks| chunks.len()), Ok(2));
        for part in [
            &whole[..1],
            &whole[..2],
            &whole[1..],
            &[place(0, 1), place(1, 3)],
            &[place(0, 1), line("b", 0, "")],
        ] {
            let error = chunks(&part.concat()).expect_err("lines are missing");
            let Ended::With { message, .. } = error else { panic!("{error:?}") };
            assert!(message.contains("has 3 events, and only"), "{message}");
        }
    }

    #[test]
    fn a_chunk_is_bounded_in_events_and_in_bytes() {
        let many: String = (0..2_500).map(|order| line("a", order, "")).collect();
        let counts: Vec<_> = chunks(&many).expect("they are right").iter().map(|chunk| chunk.2).collect();
        assert_eq!(counts, [1_000, 1_000, 500]);
        let large = |order| {
            let value = "x".repeat(300 * 1024);
            format!("{{\"key\":\"a\",\"order\":{order},\"value\":\"{value}\"}}\n")
        };
        let larger = large(0) + &large(1) + &line("a", 2, "");
        let counts: Vec<_> = chunks(&larger).expect("they are right").iter().map(|chunk| chunk.2).collect();
        assert_eq!(counts, [1, 2]);
    }

    /// The story: the lines of one append were held whatever they took, up to a thousand of the longest.
    #[test]
    fn an_append_of_more_bytes_than_one_may_have_is_refused_while_it_is_read() {
        let value = "x".repeat(1024 * 1024);
        let line = |index: u32| {
            let place = format!("\"batch\":{{\"index\":{index},\"count\":1000}}");
            format!("{{\"key\":\"a\",\"order\":{},\"value\":\"{value}\",{place}}}\n", index - 1)
        };
        let text: String = (1..=18).map(line).collect();
        let error = chunks(&text).expect_err("it is too large");
        let Ended::With { message, .. } = error else { panic!("{error:?}") };
        assert!(
            message.starts_with("x, line 17: the append of aggregate a with order 0 has more"),
            "{message}"
        );
    }

    #[test]
    fn orders_that_do_not_follow_each_other_are_told_with_the_line() {
        for (first, second) in [(0, 2), (1, 0), (3, 3)] {
            let error =
                chunks(&(line("a", first, "") + &line("a", second, ""))).expect_err("they do not rise");
            let Ended::With { message, .. } = error else { panic!("{error:?}") };
            assert!(message.starts_with("x, line 2: aggregate a goes on at order"), "{message}");
        }
        for missing in ["{\"key\":\"a\",\"value\":\"v\"}", "{\"order\":0,\"value\":\"v\"}"] {
            assert!(chunks(missing).is_err(), "{missing}");
        }
    }
}
