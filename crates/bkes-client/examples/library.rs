//! Two people, one book: what an event store is for.
//!
//! ```text
//! cargo run --release --bin bkes-server
//! cargo run --example library
//! ```
//!
//! Ann and Bob ask for the same book at the same moment. Both handlers see it free, and decide to lend it. One of them is stored. The
//! other is told of the conflict, and what had happened meanwhile; it decides again, and now the answer is no.
//!
//! `BKES_SERVER` names another server than `http://127.0.0.1:50030`.

use bkes_api::{
    Aggregate, Aggregates, Append, AppendFailure, DecideError, EventStore, Freshness, Json, Key, Order,
};
use bkes_client::Client;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

#[derive(Serialize, Deserialize, Debug)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum BookEvent {
    Bought { title: String },
    Lent { to: String },
    Returned,
}

#[derive(Clone, Default, Debug)]
struct Book {
    title: String,
    lent_to: Option<String>,
}

impl Aggregate for Book {
    type Event = BookEvent;
    type Codec = Json;

    fn apply(&mut self, event: &BookEvent) {
        match event {
            BookEvent::Bought { title } => self.title.clone_from(title),
            BookEvent::Lent { to } => self.lent_to = Some(to.clone()),
            BookEvent::Returned => self.lent_to = None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the book is lent to {0}")]
struct IsLent(String);

/// Lends a book to somebody, unless it is lent.
fn lend(to: &str) -> impl Fn(&Book) -> Result<Vec<BookEvent>, IsLent> + use<'_> {
    move |book| match &book.lent_to {
        Some(other) => Err(IsLent(other.clone())),
        None => Ok(vec![BookEvent::Lent { to: to.to_owned() }]),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = std::env::var("BKES_SERVER").unwrap_or_else(|_| "http://127.0.0.1:50030".into());
    let store: Arc<dyn EventStore> = Arc::new(Client::connect(&server)?);
    let books: Aggregates<Book> = Aggregates::new(Arc::clone(&store));
    // A book of its own for each run, since events are for ever.
    let book = Key::new(format!("book-{}", bkes_api::draw_append_id())).expect("a key has bytes");

    let title = "The Left Hand of Darkness".to_owned();
    let bought = |_: &Book| Ok::<_, IsLent>(vec![BookEvent::Bought { title: title.clone() }]);
    let new = books.decide(&book, bought).await?;
    println!("{:?} is bought, and free", new.state.title);

    // Both handlers read the book now. Each appends at the order after what it has read.
    let seen = books.load(&book, Freshness::Local).await?;
    let lent_to = |name: &str| {
        let event = serde_json::to_vec(&BookEvent::Lent { to: name.into() }).expect("it is written");
        Append::at(book.clone(), seen.next()).event(event).with_missing()
    };
    let (ann, bob) = tokio::join!(store.append(lent_to("Ann")), store.append(lent_to("Bob")));
    for (name, answer) in [("Ann", ann), ("Bob", bob)] {
        match answer {
            Ok(stored) => println!("{name} has it: event {} at offset {}", stored.last, stored.last_offset),
            Err(AppendFailure::Conflict(conflict)) => {
                println!("{name} is told: {conflict}; what {name} had not seen:");
                for event in &conflict.missing {
                    println!("    {}: {}", event.order, String::from_utf8_lossy(event.value_bytes()));
                }
            }
            Err(failure) => return Err(failure.into()),
        }
    }

    // `decide` does all of that: it reads, decides, appends, and decides again after a conflict.
    match books.decide(&book, lend("Carol")).await {
        Err(DecideError::Refused(refusal)) => println!("Carol is told: {refusal}"),
        other => println!("Carol: {other:?}"),
    }
    books.decide(&book, |_| Ok::<_, IsLent>(vec![BookEvent::Returned])).await?;
    let carol = books.decide(&book, lend("Carol")).await?;
    println!("it was returned, and Carol has it now: {:?}", carol.state.lent_to);
    assert_eq!(carol.next, Order(4));
    Ok(())
}
