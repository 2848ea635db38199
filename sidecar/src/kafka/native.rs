//! Admin requests of librdkafka that the rdkafka crate lacks.
//!
//! The crate has no incremental config changes and drops the broker's own error messages.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::bindings as library;
use rdkafka::bindings::rd_kafka_AlterConfigOpType_t as ConfigStep;
use rdkafka::bindings::rd_kafka_admin_op_t as Operation;
use rdkafka::types::{RDKafka, RDKafkaErrorCode, RDKafkaResourceType, RDKafkaRespErr};

use super::admin::request::{ConfigChange, NewTopic, Refusal};

/// Results of a request by topic.
pub(super) type Answers = BTreeMap<String, Result<(), Refusal>>;

/// Configs by topic.
pub(super) type DescribedTopics = Vec<(String, Result<Vec<DescribedConfig>, RDKafkaErrorCode>)>;

/// A config of a topic, as the brokers describe it.
pub(super) struct DescribedConfig {
    pub(super) name: String,
    /// `None` if the broker hides the value.
    pub(super) value: Option<String>,
    pub(super) source: library::rd_kafka_ConfigSource_t,
}

/// Buffer for librdkafka's message about an invalid argument.
const MESSAGE_BYTES: usize = 512;

/// A pointer of the library with the function that frees it.
struct Owned<T> {
    pointer: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes ownership of a pointer from the library; `None` for a null pointer.
    fn new(pointer: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!pointer.is_null()).then_some(Self { pointer, free })
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from the library, is owned here alone, and `free` is the
        // function for its type.
        unsafe { (self.free)(self.pointer) }
    }
}

/// A request: its operation, its items, and the function that sends it with options and a queue for
/// the answer.
struct AdminRequest<'c, T> {
    client: &'c RDKafka,
    operation: Operation,
    items: Vec<Owned<T>>,
    send: unsafe extern "C" fn(
        *mut RDKafka,
        *mut *mut T,
        usize,
        *const library::rd_kafka_AdminOptions_t,
        *mut library::rd_kafka_queue_t,
    ),
}

/// Creates topics.
///
/// # Errors
/// Fails if the request failed as a whole. The answers hold the failures of single topics.
pub(super) fn create_topics(
    client: &RDKafka,
    topics: &[NewTopic],
    limit: Duration,
) -> Result<Answers, Refusal> {
    let items = topics.iter().map(new_topic).collect::<Result<_, _>>()?;
    let (operation, send) = (Operation::RD_KAFKA_ADMIN_OP_CREATETOPICS, library::rd_kafka_CreateTopics);
    AdminRequest { client, operation, items, send }.answer(limit, |event| {
        // SAFETY: the event is alive. An event of another kind gives a null result, and `topics_of`
        // returns no topics for it.
        unsafe {
            let result = library::rd_kafka_event_CreateTopics_result(event);
            topics_of(result, library::rd_kafka_CreateTopics_result_topics)
        }
    })
}

/// Adds partitions to topics. The map has the new total of each topic.
///
/// # Errors
/// As [`create_topics`].
pub(super) fn create_partitions(
    client: &RDKafka,
    topics: &BTreeMap<String, usize>,
    limit: Duration,
) -> Result<Answers, Refusal> {
    let items = topics
        .iter()
        .map(|(name, partitions)| {
            let name = text(name)?;
            explained(|message| {
                // SAFETY: name and message are alive during the call, and the message has the given
                // length.
                let made = unsafe {
                    library::rd_kafka_NewPartitions_new(name.as_ptr(), *partitions, message, MESSAGE_BYTES)
                };
                Owned::new(made, library::rd_kafka_NewPartitions_destroy)
            })
        })
        .collect::<Result<_, _>>()?;
    let (operation, send) =
        (Operation::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS, library::rd_kafka_CreatePartitions);
    AdminRequest { client, operation, items, send }.answer(limit, |event| {
        // SAFETY: as in `create_topics`.
        unsafe {
            let result = library::rd_kafka_event_CreatePartitions_result(event);
            topics_of(result, library::rd_kafka_CreatePartitions_result_topics)
        }
    })
}

/// Deletes topics.
///
/// # Errors
/// As [`create_topics`].
pub(super) fn delete_topics(
    client: &RDKafka,
    topics: &[String],
    limit: Duration,
) -> Result<Answers, Refusal> {
    let items = topics
        .iter()
        .map(|name| {
            let name = text(name)?;
            // SAFETY: the name is alive during the call.
            let made = unsafe { library::rd_kafka_DeleteTopic_new(name.as_ptr()) };
            Owned::new(made, library::rd_kafka_DeleteTopic_destroy).ok_or_else(Refusal::out_of_memory)
        })
        .collect::<Result<_, _>>()?;
    let (operation, send) = (Operation::RD_KAFKA_ADMIN_OP_DELETETOPICS, library::rd_kafka_DeleteTopics);
    AdminRequest { client, operation, items, send }.answer(limit, |event| {
        // SAFETY: as in `create_topics`.
        unsafe {
            let result = library::rd_kafka_event_DeleteTopics_result(event);
            topics_of(result, library::rd_kafka_DeleteTopics_result_topics)
        }
    })
}

/// Changes the given configs of topics and keeps all others.
///
/// # Errors
/// As [`create_topics`].
pub(super) fn alter_configs(
    client: &RDKafka,
    topics: &BTreeMap<String, Vec<ConfigChange>>,
    limit: Duration,
) -> Result<Answers, Refusal> {
    let items = topics.iter().map(|(name, changes)| resource(name, changes)).collect::<Result<_, _>>()?;
    let (operation, send) =
        (Operation::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS, library::rd_kafka_IncrementalAlterConfigs);
    AdminRequest { client, operation, items, send }.answer(limit, |event| {
        // SAFETY: the event is alive and owns the resources, as many as are counted.
        unsafe {
            let result = library::rd_kafka_event_IncrementalAlterConfigs_result(event);
            let resources = list_of(result, library::rd_kafka_IncrementalAlterConfigs_result_resources);
            let answer = |resource: &*const library::rd_kafka_ConfigResource_t| {
                let code = library::rd_kafka_ConfigResource_error(*resource);
                let message = library::rd_kafka_ConfigResource_error_string(*resource);
                (owned(library::rd_kafka_ConfigResource_name(*resource)), outcome(code, message))
            };
            resources.iter().map(answer).collect()
        }
    })
}

/// Returns the configs of topics, or the code of a topic's error.
///
/// # Errors
/// As [`create_topics`].
pub(super) fn describe_configs(
    client: &RDKafka,
    topics: &[String],
    limit: Duration,
) -> Result<DescribedTopics, Refusal> {
    let items = topics.iter().map(|name| resource(name, &[])).collect::<Result<_, _>>()?;
    let (operation, send) = (Operation::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, library::rd_kafka_DescribeConfigs);
    AdminRequest { client, operation, items, send }.answer(limit, |event| {
        // SAFETY: the event is alive and owns the resources with their entries, as many as are
        // counted.
        unsafe {
            let result = library::rd_kafka_event_DescribeConfigs_result(event);
            let resources = list_of(result, library::rd_kafka_DescribeConfigs_result_resources);
            let described = |resource: &*const library::rd_kafka_ConfigResource_t| {
                let name = owned(library::rd_kafka_ConfigResource_name(*resource));
                let code = library::rd_kafka_ConfigResource_error(*resource);
                if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return (name, Err(code.into()));
                }
                let entries = list_of(*resource, library::rd_kafka_ConfigResource_configs);
                (name, Ok(entries.iter().map(|entry| described_config(*entry)).collect()))
            };
            resources.iter().map(described).collect()
        }
    })
}

/// Copies a config of a topic.
///
/// # Safety
/// `entry` is alive.
unsafe fn described_config(entry: *const library::rd_kafka_ConfigEntry_t) -> DescribedConfig {
    // SAFETY: the caller's contract.
    unsafe {
        let value = library::rd_kafka_ConfigEntry_value(entry);
        DescribedConfig {
            name: owned(library::rd_kafka_ConfigEntry_name(entry)),
            value: (!value.is_null()).then(|| owned(value)),
            source: library::rd_kafka_ConfigEntry_source(entry),
        }
    }
}

impl<T> AdminRequest<'_, T> {
    /// Sends the request and blocks until the answer.
    fn answer<R>(
        self,
        limit: Duration,
        read: impl FnOnce(*mut library::rd_kafka_event_t) -> R,
    ) -> Result<R, Refusal> {
        let client = ptr::from_ref(self.client).cast_mut();
        let milliseconds = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the client is alive for as long as it is borrowed, and the library locks its
        // shared data. The items live until the end of this function, and the library copies them
        // before `send` returns. Every object made here is freed by its own function, the event
        // after it was read.
        unsafe {
            let queue = Owned::new(library::rd_kafka_queue_new(client), library::rd_kafka_queue_destroy)
                .ok_or_else(Refusal::out_of_memory)?;
            let options = library::rd_kafka_AdminOptions_new(client, self.operation);
            let options = Owned::new(options, library::rd_kafka_AdminOptions_destroy)
                .ok_or_else(Refusal::out_of_memory)?;
            let mut message = [0; MESSAGE_BYTES];
            let (text, bytes) = (message.as_mut_ptr(), MESSAGE_BYTES);
            library::rd_kafka_AdminOptions_set_request_timeout(options.pointer, milliseconds, text, bytes);
            // Only requests that wait for other brokers accept this option. For the rest the
            // library rejects it, and the request proceeds.
            library::rd_kafka_AdminOptions_set_operation_timeout(options.pointer, milliseconds, text, bytes);
            let mut items: Vec<*mut T> = self.items.iter().map(|item| item.pointer).collect();
            (self.send)(client, items.as_mut_ptr(), items.len(), options.pointer, queue.pointer);
            // The library always answers, with a timeout error if no broker does.
            let event = loop {
                let event = library::rd_kafka_queue_poll(queue.pointer, milliseconds);
                if let Some(event) = Owned::new(event, library::rd_kafka_event_destroy) {
                    break event;
                }
            };
            let code = library::rd_kafka_event_error(event.pointer);
            outcome(code, library::rd_kafka_event_error_string(event.pointer))?;
            Ok(read(event.pointer))
        }
    }
}

fn new_topic(topic: &NewTopic) -> Result<Owned<library::rd_kafka_NewTopic_t>, Refusal> {
    let name = text(&topic.name)?;
    let made = explained(|message| {
        // SAFETY: name and message are alive during the call, and the message has the given length.
        let made = unsafe {
            let (partitions, copies) = (topic.partitions, topic.replication_factor);
            library::rd_kafka_NewTopic_new(name.as_ptr(), partitions, copies, message, MESSAGE_BYTES)
        };
        Owned::new(made, library::rd_kafka_NewTopic_destroy)
    })?;
    for (key, value) in &topic.configs {
        let (key, value) = (text(key)?, text(value)?);
        // SAFETY: all pointers are alive during the call; the library copies key and value.
        let code =
            unsafe { library::rd_kafka_NewTopic_set_config(made.pointer, key.as_ptr(), value.as_ptr()) };
        outcome(code, ptr::null())?;
    }
    Ok(made)
}

fn resource(
    name: &str,
    changes: &[ConfigChange],
) -> Result<Owned<library::rd_kafka_ConfigResource_t>, Refusal> {
    let name = text(name)?;
    // SAFETY: the name is alive during the call.
    let made = unsafe {
        library::rd_kafka_ConfigResource_new(RDKafkaResourceType::RD_KAFKA_RESOURCE_TOPIC, name.as_ptr())
    };
    let made =
        Owned::new(made, library::rd_kafka_ConfigResource_destroy).ok_or_else(Refusal::out_of_memory)?;
    for change in changes {
        let (key, step, value) = match change {
            ConfigChange::Set { key, value } => {
                (key, ConfigStep::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, Some(text(value)?))
            }
            ConfigChange::Reset { key } => (key, ConfigStep::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, None),
        };
        let key = text(key)?;
        let value = value.as_ref().map_or(ptr::null(), |value| value.as_ptr());
        // SAFETY: all pointers are alive during the call, the library copies the data they point
        // to, and an error that it makes is read and freed here.
        unsafe {
            let add = library::rd_kafka_ConfigResource_add_incremental_config;
            let error = add(made.pointer, key.as_ptr(), step, value);
            if let Some(error) = Owned::new(error, library::rd_kafka_error_destroy) {
                let code = library::rd_kafka_error_code(error.pointer);
                outcome(code, library::rd_kafka_error_string(error.pointer))?;
            }
        }
    }
    Ok(made)
}

/// The list that `read` returns for a result.
///
/// # Safety
/// `result` is null or alive for as long as the list is used, and `read` is the function for its
/// type.
unsafe fn list_of<'a, R, T>(
    result: *const R,
    read: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const T,
) -> &'a [*const T] {
    if result.is_null() {
        return &[];
    }
    let mut count = 0;
    // SAFETY: the caller's contract.
    let list = unsafe { read(result, &raw mut count) };
    if list.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: the library gives as many pointers as it counts.
    unsafe { slice::from_raw_parts(list, count) }
}

/// The topics of a result with their outcomes.
///
/// # Safety
/// As [`list_of`].
unsafe fn topics_of<R>(
    result: *const R,
    read: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const library::rd_kafka_topic_result_t,
) -> Answers {
    // SAFETY: the caller's contract; each entry lives as long as the result.
    unsafe {
        let answer = |topic: &*const library::rd_kafka_topic_result_t| {
            let code = library::rd_kafka_topic_result_error(*topic);
            let message = library::rd_kafka_topic_result_error_string(*topic);
            (owned(library::rd_kafka_topic_result_name(*topic)), outcome(code, message))
        };
        list_of(result, read).iter().map(answer).collect()
    }
}

/// Returns the object that `make` creates, or the library's reason why it failed.
fn explained<T>(make: impl FnOnce(*mut c_char) -> Option<Owned<T>>) -> Result<Owned<T>, Refusal> {
    let mut message: [c_char; MESSAGE_BYTES] = [0; MESSAGE_BYTES];
    make(message.as_mut_ptr()).ok_or_else(|| Refusal {
        code: RDKafkaErrorCode::InvalidArgument,
        // SAFETY: the library ends its text with a zero, and the array began with zeros.
        message: unsafe { owned(message.as_ptr()) },
    })
}

fn text(text: &str) -> Result<CString, Refusal> {
    CString::new(text).map_err(|_| Refusal {
        code: RDKafkaErrorCode::InvalidArgument,
        message: format!("{text:?} contains a zero byte"),
    })
}

/// Converts a code to an outcome; the message may be null.
fn outcome(code: RDKafkaRespErr, message: *const c_char) -> Result<(), Refusal> {
    if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Ok(());
    }
    // SAFETY: the library's messages live as long as their owner, and the caller holds that.
    let message = unsafe { owned(message) };
    Err(Refusal { code: code.into(), message })
}

/// Copies the library's text; empty for a null pointer.
///
/// # Safety
/// `text` is null or ends with a zero byte.
unsafe fn owned(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
