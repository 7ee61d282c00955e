//! Rights to a topic or a consumer group: taken away and given back, by rules that the broker's authorizer obeys.
//!
//! The `rdkafka` crate knows no rules of rights, so librdkafka is asked itself: the only unsafe code of this crate. Rules are
//! made for one of these and for the one user that clients without a name are, and never for the cluster, whose nodes are that
//! user too.

#![allow(unsafe_code)]

use crate::cluster::{ANSWER, Cluster};
use rdkafka::admin::AdminClient;
use rdkafka::bindings as sys;
use rdkafka::client::DefaultClientContext;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::ptr;

use sys::rd_kafka_AclOperation_t as Operation;
use sys::rd_kafka_AclPermissionType_t as Permission;
use sys::rd_kafka_ResourceType_t as Kind;
use sys::rd_kafka_admin_op_t as Question;

/// Who clients are that do not say who they are.
const NOBODY: &CStr = c"User:ANONYMOUS";

const ANY_HOST: &CStr = c"*";

/// What can be taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// All of them, those to describe the topic and its settings too.
    All,
    /// Reading records, and nothing else.
    Read,
    /// Writing records, and nothing else.
    Write,
    /// Reading the topic's settings, and nothing else.
    Settings,
}

/// Why the rights are what they were, in librdkafka's words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RightsError(String);

impl fmt::Display for RightsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the rights were not changed: {}", self.0)
    }
}

impl std::error::Error for RightsError {}

fn failed(detail: impl fmt::Display) -> RightsError {
    RightsError(detail.to_string())
}

impl Cluster {
    /// Takes a right to a topic away from everybody. Blocks until the controller has written it down; a moment later the
    /// brokers obey it.
    pub fn take_right(&self, topic: &str, right: Right) -> Result<(), RightsError> {
        self.take(Kind::RD_KAFKA_RESOURCE_TOPIC, topic, right)
    }

    /// Takes every right to a consumer group away from everybody. Blocks like [`take_right`](Self::take_right).
    pub fn take_group(&self, group: &str) -> Result<(), RightsError> {
        self.take(Kind::RD_KAFKA_RESOURCE_GROUP, group, Right::All)
    }

    fn take(&self, kind: Kind, name: &str, right: Right) -> Result<(), RightsError> {
        let name = CString::new(name).map_err(failed)?;
        let operation = match right {
            Right::All => Operation::RD_KAFKA_ACL_OPERATION_ALL,
            Right::Read => Operation::RD_KAFKA_ACL_OPERATION_READ,
            Right::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE,
            Right::Settings => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        };
        // A topic with any rule denies what no rule allows, so the other rights are allowed by name. Where both are said,
        // the denial counts.
        let mut rules = vec![(operation, Permission::RD_KAFKA_ACL_PERMISSION_TYPE_DENY)];
        if right != Right::All {
            let all = Operation::RD_KAFKA_ACL_OPERATION_ALL;
            rules.push((all, Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW));
        }
        let mut words: [c_char; 512] = [0; 512];
        let mut bindings: Vec<_> = rules
            .iter()
            .map(|(operation, permission)| {
                // SAFETY: the strings live through the call, which copies them; the buffer is as long as is said.
                unsafe {
                    sys::rd_kafka_AclBinding_new(
                        kind,
                        name.as_ptr(),
                        sys::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                        NOBODY.as_ptr(),
                        ANY_HOST.as_ptr(),
                        *operation,
                        *permission,
                        words.as_mut_ptr(),
                        words.len(),
                    )
                }
            })
            .collect();
        assert!(bindings.iter().all(|binding| !binding.is_null()), "a rule of ours is well formed");
        let ask = |handle, options, queue| {
            // SAFETY: handle, options and queue are live; the call copies the bindings.
            unsafe { sys::rd_kafka_CreateAcls(handle, bindings.as_mut_ptr(), bindings.len(), options, queue) }
        };
        let answer = self.ask(Question::RD_KAFKA_ADMIN_OP_CREATEACLS, ask);
        // SAFETY: they are ours, and destroyed once.
        bindings.iter().for_each(|binding| unsafe { sys::rd_kafka_AclBinding_destroy(*binding) });
        let event = answer?;
        let mut count = 0;
        // SAFETY: results live as long as their event, and the array has the length that is told.
        unsafe {
            let result = sys::rd_kafka_event_CreateAcls_result(event.event);
            let results = sys::rd_kafka_CreateAcls_result_acls(result, &mut count);
            (0..count).try_for_each(|i| success(sys::rd_kafka_acl_result_error(*results.add(i))))
        }
    }

    /// Gives back every right to a topic that was taken away. Blocks like [`take_right`](Self::take_right).
    pub fn give_rights_back(&self, topic: &str) -> Result<(), RightsError> {
        self.give_back(Kind::RD_KAFKA_RESOURCE_TOPIC, topic)
    }

    /// Gives back every right to a consumer group.
    pub fn give_group_back(&self, group: &str) -> Result<(), RightsError> {
        self.give_back(Kind::RD_KAFKA_RESOURCE_GROUP, group)
    }

    fn give_back(&self, kind: Kind, name: &str) -> Result<(), RightsError> {
        let name = CString::new(name).map_err(failed)?;
        let mut words: [c_char; 512] = [0; 512];
        // SAFETY: as in `take_right`; null means any user, and any host.
        let mut filter = unsafe {
            sys::rd_kafka_AclBindingFilter_new(
                kind,
                name.as_ptr(),
                sys::rd_kafka_ResourcePatternType_t::RD_KAFKA_RESOURCE_PATTERN_LITERAL,
                ptr::null(),
                ptr::null(),
                Operation::RD_KAFKA_ACL_OPERATION_ANY,
                Permission::RD_KAFKA_ACL_PERMISSION_TYPE_ANY,
                words.as_mut_ptr(),
                words.len(),
            )
        };
        assert!(!filter.is_null(), "a filter of ours is well formed");
        let ask = |handle, options, queue| {
            // SAFETY: handle, options and queue are live; the call copies the filter.
            unsafe { sys::rd_kafka_DeleteAcls(handle, &mut filter, 1, options, queue) }
        };
        let answer = self.ask(Question::RD_KAFKA_ADMIN_OP_DELETEACLS, ask);
        // SAFETY: it is ours, and destroyed once. A filter is a binding by another name.
        unsafe { sys::rd_kafka_AclBinding_destroy(filter) };
        let event = answer?;
        let mut count = 0;
        // SAFETY: as in `take_right`.
        unsafe {
            let result = sys::rd_kafka_event_DeleteAcls_result(event.event);
            let results = sys::rd_kafka_DeleteAcls_result_responses(result, &mut count);
            (0..count)
                .try_for_each(|i| success(sys::rd_kafka_DeleteAcls_result_response_error(*results.add(i))))
        }
    }

    /// Asks an admin question of a handle of its own, and waits for the answer.
    fn ask(
        &self,
        question: Question,
        request: impl FnOnce(
            *mut sys::rd_kafka_t,
            *const sys::rd_kafka_AdminOptions_t,
            *mut sys::rd_kafka_queue_t,
        ),
    ) -> Result<Event, RightsError> {
        let admin = self.admin().map_err(failed)?;
        let handle = admin.inner().native_ptr();
        let millis = c_int::try_from(ANSWER.as_millis()).unwrap_or(c_int::MAX);
        let mut words: [c_char; 512] = [0; 512];
        // SAFETY: the handle lives as long as `admin`; options and queue are ours and destroyed here; the event is freed by
        // `Event`, which keeps the handle until then.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(handle, question);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis, words.as_mut_ptr(), words.len());
            let queue = sys::rd_kafka_queue_new(handle);
            request(handle, options, queue);
            let event = sys::rd_kafka_queue_poll(queue, millis);
            sys::rd_kafka_queue_destroy(queue);
            sys::rd_kafka_AdminOptions_destroy(options);
            if event.is_null() {
                return Err(failed("no answer in time"));
            }
            let event = Event { event, _admin: admin };
            if sys::rd_kafka_event_error(event.event) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return Err(failed(text(sys::rd_kafka_event_error_string(event.event))));
            }
            Ok(event)
        }
    }
}

struct Event {
    event: *mut sys::rd_kafka_event_t,
    _admin: AdminClient<DefaultClientContext>,
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: the event is ours and freed once.
        unsafe { sys::rd_kafka_event_destroy(self.event) };
    }
}

/// # Safety
///
/// `error` is null, which is success, or live.
unsafe fn success(error: *const sys::rd_kafka_error_t) -> Result<(), RightsError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: promised by the caller.
    Err(failed(unsafe { text(sys::rd_kafka_error_string(error)) }))
}

/// # Safety
///
/// `words` is a live string that ends with a zero byte.
unsafe fn text(words: *const c_char) -> String {
    // SAFETY: promised by the caller.
    unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
}
