//! Messages of the second contract in the words of bkes-api. Requests are turned by servers, answers by clients.

mod answers;
mod nouns;
mod requests;

pub use answers::{
    appended, conflict, event, follow_item, head, key_list, page, read_many_page, status, tagged_answer,
};
pub use nouns::{freshness, positions};
pub use requests::{append, check_append, follow, head_request, keys_request, read, read_many, wait_for};
