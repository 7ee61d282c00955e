//! Properties as librdkafka sees them: its list, and whether it takes a value.

use super::{sys, text};
use std::ffi::{CString, c_char};

/// A property as librdkafka lists it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedProperty {
    pub name: String,
    /// `C`, `P`, or `*` for consumers and producers.
    pub handles: String,
    /// The values it takes, where they can be listed.
    pub range: Option<String>,
    /// The type of its values.
    pub kind: String,
    pub alias_of: Option<String>,
}

/// Whether librdkafka takes a value; why not is told without any part of the value.
pub fn check_property(name: &str, value: &str) -> Result<(), String> {
    let Err(words) = try_value(name, value) else { return Ok(()) };
    // What it says of no value as well, such as that the build lacks something, has nothing of this value in it.
    if try_value(name, "").is_err_and(|of_none| of_none == words) {
        return Err(words);
    }
    let listed = listed_properties().into_iter().find(|listed| listed.name == name);
    let Some(range) = listed.and_then(|listed| listed.range) else {
        return Err("librdkafka does not take its value".to_owned());
    };
    // A word of librdkafka's own is no secret.
    if range.split(", ").any(|word| word.eq_ignore_ascii_case(value)) {
        return Err(words);
    }
    Err(format!("librdkafka takes {range}"))
}

/// librdkafka's words about a value; they may repeat it.
fn try_value(name: &str, value: &str) -> Result<(), String> {
    let no_zero = |_| "it has a zero byte".to_owned();
    let (name, value) = (CString::new(name).map_err(no_zero)?, CString::new(value).map_err(no_zero)?);
    let mut words: [c_char; 512] = [0; 512];
    // SAFETY: the configuration is ours, made and destroyed here; strings live through the call.
    unsafe {
        let conf = sys::rd_kafka_conf_new();
        let result =
            sys::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), words.as_mut_ptr(), words.len());
        sys::rd_kafka_conf_destroy(conf);
        match result {
            sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            _ => Err(text(words.as_ptr()).trim_end().to_owned()),
        }
    }
}

/// Every property that librdkafka documents, in its order; none where it cannot be asked.
pub fn listed_properties() -> Vec<ListedProperty> {
    listing().lines().filter_map(listed).collect()
}

/// A line of librdkafka's list: name, handles, range, default, importance and description between bars. Bars may stand in a default.
fn listed(line: &str) -> Option<ListedProperty> {
    let mut cells = line.split('|').map(str::trim);
    let (name, handles, range) = (cells.next()?, cells.next()?, cells.next()?);
    let (_, kind) = line.rsplit_once("<br>*Type: ")?;
    let alias_of = line.split_once("Alias for `").and_then(|(_, rest)| rest.split_once('`'));
    Some(ListedProperty {
        name: name.to_owned(),
        handles: handles.to_owned(),
        range: (!range.is_empty()).then(|| range.to_owned()),
        kind: kind.trim_end_matches('*').to_owned(),
        alias_of: alias_of.map(|(of, _)| of.to_owned()),
    })
}

/// librdkafka's list as it writes it: to a file only, so to one in memory.
#[cfg(target_os = "linux")]
fn listing() -> String {
    let (mut written, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both numbers outlive the file; the buffer is ours once the file is closed, ends with a zero byte, and is freed once.
    unsafe {
        let file = libc::open_memstream(&mut written, &mut size);
        if file.is_null() {
            return String::new();
        }
        sys::rd_kafka_conf_properties_show(file);
        libc::fclose(file);
        let list = text(written);
        libc::free(written.cast());
        list
    }
}

#[cfg(not(target_os = "linux"))]
fn listing() -> String {
    String::new()
}
