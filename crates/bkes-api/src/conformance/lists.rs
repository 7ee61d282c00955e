//! Lists of aggregates.

use super::{Suite, within};
use crate::keys::KeysRequest;
use crate::positions::Freshness;
use bkes_core::{Key, Order};

pub async fn check(suite: &Suite) {
    a_prefix_is_listed_in_order_page_by_page(suite).await;
    a_latest_list_has_what_another_instance_was_told(suite).await;
}

async fn a_prefix_is_listed_in_order_page_by_page(suite: &Suite) {
    let mut expected = Vec::new();
    for index in 0..25 {
        let key = suite.aggregate(&format!("list-{index:02}"), index % 3 + 1).await;
        expected.push((key, Order(index as u64 % 3 + 1)));
    }
    let prefix = suite.key("list-").bytes().clone();
    for keys_max in [1, 7, 25, 1_000] {
        let (mut listed, mut after): (Vec<(Key, Order)>, Option<Key>) = (Vec::new(), None);
        loop {
            let request = KeysRequest { prefix: prefix.clone(), after, keys_max, ..KeysRequest::default() };
            let page = within(suite.store().keys(request)).await.expect("it is listed");
            assert!(page.keys.len() <= keys_max);
            listed.extend(page.keys.into_iter().map(|listed| (listed.key, listed.next)));
            after = listed.last().map(|(key, _)| key.clone());
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, expected, "in pages of {keys_max}");
    }
}

async fn a_latest_list_has_what_another_instance_was_told(suite: &Suite) {
    for index in 0..10 {
        let key = suite.aggregate(&format!("fresh-list-{index}"), 1).await;
        let prefix = key.bytes().clone();
        let request = KeysRequest { prefix, freshness: Freshness::Latest, ..KeysRequest::default() };
        let page = within(suite.other().keys(request)).await.expect("it is listed");
        assert_eq!(page.keys.iter().map(|listed| &listed.key).collect::<Vec<_>>(), [&key]);
    }
}
