//! The words of bkes-api as messages of the second contract. Requests are made by clients, answers by servers.

mod answers;
mod nouns;
mod requests;

pub use answers::{
    appended, conflict, event, failed, follow_item, head, key_list, page, status, stored, tagged_answer,
};
pub use requests::{append, follow, head_request, keys_request, read, read_many, tagged_append, wait_for};
