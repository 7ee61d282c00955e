//! Where keys go, and when new partitions get some.

use super::*;

fn machine(partitions: u32, partitioner: Option<Partitioner>) -> TopicMachine {
    let partitions = NonZeroU32::new(partitions).expect("not zero");
    TopicMachine::new(Placing { partitions, partitioner }, false, Completeness::Whole, 60_000)
}

fn request(expected: Expected) -> AppendRequest {
    AppendRequest::of_values(Key::new("key").expect("not empty"), expected, ["v".into()])
}

fn locate(machine: &mut TopicMachine, expected: Expected, heads: Heads) -> Result<Partition, AppendError> {
    machine.locate(&request(expected), &heads, &|_| true, &|| Unready::ShuttingDown)
}

fn head(partition: u32) -> Head {
    Head { partition: Partition(partition), base: crate::Order(0), next: crate::Order(1) }
}

#[test]
fn an_aggregate_lives_where_its_events_are_however_keys_are_placed() {
    let mut machine = machine(8, Some(Partitioner::Murmur2));
    for partition in 0..8 {
        let located = locate(&mut machine, Expected::At(crate::Order(1)), Heads::One(head(partition)));
        assert_eq!(located, Ok(Partition(partition)));
    }
    let split = Heads::Split(vec![head(1), head(3)]);
    let located = locate(&mut machine, Expected::At(crate::Order(1)), split.clone());
    assert_eq!(located, Err(AppendError::Split { partitions: vec![Partition(1), Partition(3)] }));
    let unread = machine.locate(&request(Expected::New), &split, &|_| false, &|| Unready::ShuttingDown);
    assert_eq!(unread, Err(AppendError::Unavailable(Unready::ShuttingDown)), "it may not be split at all");
}

#[test]
fn a_new_key_is_not_placed_before_it_is_known_how() {
    let mut machine = machine(8, None);
    let absent = |machine: &mut TopicMachine| locate(machine, Expected::New, Heads::None);
    assert_eq!(
        absent(&mut machine),
        Err(AppendError::Unavailable(Unready::ShuttingDown)),
        "nothing was judged"
    );
    let exact = locate(&mut machine, Expected::At(crate::Order(3)), Heads::None);
    assert!(matches!(exact, Err(AppendError::NoSuchAggregate { .. })), "{exact:?}");
    assert!(machine.wants_evidence());
    // Keys that lie where only murmur2 puts them.
    let keys = (0..500).map(|number| format!("key-{number}"));
    let partitions = machine.placing().partitions;
    let placed = keys.map(|key| {
        PlacedKey::new(key.as_bytes(), Partitioner::Murmur2.place(key.as_bytes(), partitions), true)
    });
    machine.add_evidence(placed);
    assert!(matches!(machine.choose(), Choice::Made(Partitioner::Murmur2, _)));
    assert_eq!(absent(&mut machine), Ok(machine.guess(&Key::new("key").expect("not empty"))));
    assert_eq!((machine.choose(), machine.wants_evidence()), (Choice::Unchanged, false));
}

#[test]
fn keys_that_tell_nothing_are_said_to_once_and_again_when_they_are_twice_as_many() {
    let mut machine = machine(8, None);
    let mut said = Vec::new();
    for number in 0..8u32 {
        // All in one partition: nobody places so.
        machine.add_evidence([PlacedKey::new(&number.to_le_bytes(), Partition(0), true)]);
        match machine.choose() {
            Choice::Open { evidence, is_news: true } => said.push(evidence.keys),
            Choice::Open { .. } => {}
            choice => panic!("{choice:?}"),
        }
    }
    assert!(said.len() >= 2 && said.windows(2).all(|pair| pair[1] >= 2 * pair[0]), "{said:?}");
    let refused = locate(&mut machine, Expected::New, Heads::None);
    assert!(matches!(refused, Err(AppendError::PartitionerUnknown { .. })), "{refused:?}");
}

#[test]
fn new_partitions_take_keys_only_after_they_were_read_and_have_rested() {
    let mut machine = machine(2, Some(Partitioner::Murmur2));
    assert_eq!(machine.place_over(2, true, 1), None);
    assert_eq!(machine.place_over(4, false, 1_000), None, "they are not read");
    assert_eq!(machine.place_over(4, true, 2_000), None, "others may not have seen them");
    assert_eq!(machine.place_over(5, true, 50_000), None, "another one: they rest together");
    assert_eq!(machine.place_over(5, true, 109_999), None);
    assert_eq!(machine.place_over(5, false, 109_999), None, "one is read anew: it begins again");
    assert_eq!(machine.place_over(5, true, 110_000), None);
    assert_eq!(machine.place_over(5, true, 170_000).map(NonZeroU32::get), Some(5));
    assert_eq!(machine.placing().partitions.get(), 5);
}

#[test]
fn no_key_is_begun_where_only_existing_ones_are_served() {
    let placing = Placing { partitions: NonZeroU32::MIN, partitioner: Some(Partitioner::Murmur2) };
    let mut machine = TopicMachine::new(placing, true, Completeness::Whole, 0);
    assert_eq!(locate(&mut machine, Expected::New, Heads::None), Err(AppendError::ExistingOnly));
    assert_eq!(locate(&mut machine, Expected::New, Heads::One(head(0))), Ok(Partition(0)));
}
