//! Positions as they are typed: `0:120,1:80`, with the topic's id and an `@` before them if that is to be checked.

use bkes_api::{Partition, Position, Positions, TopicId};

/// The positions that are written so.
pub fn parse(text: &str) -> Result<Positions, String> {
    let (topic, list) = match text.rsplit_once('@') {
        Some((topic, list)) => (Some(TopicId::new(topic)), list),
        None => (None, text),
    };
    let mut positions = Positions { topic, of: Vec::new() };
    for one in list.split(',') {
        let numbers = one.split_once(':').and_then(|(partition, position)| {
            Some((Partition(partition.parse().ok()?), Position(position.parse().ok()?)))
        });
        let (partition, position) = numbers
            .ok_or("not positions: write PARTITION:OFFSET, as in 0:120 or 0:120,1:80 or TOPIC-ID@0:120")?;
        if positions.get(partition).is_some() {
            return Err(format!("partition {partition} is there twice"));
        }
        positions.of.push((partition, position));
    }
    Ok(positions)
}

/// Positions as [`parse`] reads them.
pub fn shown(positions: &Positions) -> String {
    let topic = positions.topic.as_ref().filter(|topic| !topic.as_str().is_empty());
    let topic = topic.map_or(String::new(), |topic| format!("{topic}@"));
    let list: Vec<_> =
        positions.of.iter().map(|(partition, position)| format!("{partition}:{position}")).collect();
    format!("{topic}{}", list.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_and_shown_the_same() {
        for text in ["0:120", "0:120,7:0", "ab-_9@3:18446744073709551615"] {
            assert_eq!(parse(text).map(|positions| shown(&positions)), Ok(text.to_owned()));
        }
        let positions = parse("id@1:5").expect("it is right");
        assert_eq!(
            positions,
            Positions { topic: Some(TopicId::new("id")), of: vec![(Partition(1), Position(5))] }
        );
    }

    #[test]
    fn what_is_no_position_is_refused() {
        for text in ["", "0", "0:", ":1", "0:1,", "0:-1", "-1:0", "0:1;1:2", "0:1,0:2", "id@"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
