//! Requests that create, change and delete topics, with the broker's answers.

#![allow(unsafe_code)]

pub(super) mod request;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafka;

use self::request::{ConfigChange, NewTopic, Refusal};
use super::native::{self, Answers};
use super::session::BrokerSession;
use super::{Client, KafkaError};
use crate::span;

/// Limit for the controller. It writes each partition to its log, which takes milliseconds, or
/// seconds for thousands of partitions.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

impl Client {
    /// Creates topics.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] if the request failed as a whole. The answers hold the failures of
    /// single topics.
    pub(crate) async fn create_topics(&self, topics: Vec<NewTopic>) -> Result<Answers, KafkaError> {
        self.change("create topics", move |client| native::create_topics(client, &topics, CHANGE_LIMIT)).await
    }

    /// Adds partitions to topics. The map has the new total of each topic.
    ///
    /// # Errors
    /// As [`Client::create_topics`].
    pub(crate) async fn create_partitions(
        &self,
        topics: BTreeMap<String, usize>,
    ) -> Result<Answers, KafkaError> {
        let ask = move |client: &RDKafka| native::create_partitions(client, &topics, CHANGE_LIMIT);
        self.change("add partitions", ask).await
    }

    /// Changes the given configs of topics and keeps all others.
    ///
    /// # Errors
    /// As [`Client::create_topics`].
    pub(crate) async fn alter_configs(
        &self,
        topics: BTreeMap<String, Vec<ConfigChange>>,
    ) -> Result<Answers, KafkaError> {
        let ask = move |client: &RDKafka| native::alter_configs(client, &topics, CHANGE_LIMIT);
        self.change("change configs", ask).await
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// As [`Client::create_topics`].
    pub(crate) async fn delete_topics(&self, topics: Vec<String>) -> Result<Answers, KafkaError> {
        self.change("delete topics", move |client| native::delete_topics(client, &topics, CHANGE_LIMIT)).await
    }

    /// Sends the request and waits for its answer on a separate thread.
    async fn change(
        &self,
        task: &'static str,
        ask: impl FnOnce(&RDKafka) -> Result<Answers, Refusal> + Send + 'static,
    ) -> Result<Answers, KafkaError> {
        let client = self.clone();
        let asked = tokio::task::spawn_blocking(span::in_current(move || ask(client.session().library())));
        let answers = asked.await.map_err(|_| KafkaError::Task(task))?;
        answers.map_err(|refusal| KafkaError::Refused { brokers: self.brokers().to_owned(), task, refusal })
    }
}

impl BrokerSession {
    /// The library's client, for requests that the crate lacks.
    pub(super) fn library(&self) -> &RDKafka {
        // SAFETY: the library's client lives as long as this session.
        unsafe { &*self.admin.client().native_ptr() }
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::types::RDKafkaErrorCode;

    use super::*;

    #[test]
    fn a_refusal_speaks_in_the_brokers_words() {
        let code = RDKafkaErrorCode::InvalidConfig;
        let said = Refusal { code, message: "Invalid value 0 for configuration segment.bytes".to_owned() };
        let text = said.to_string();
        assert!(text.starts_with("Invalid value 0 for configuration segment.bytes (InvalidConfig"), "{text}");
        assert!(!said.is_in_doubt());
        let silent = Refusal { code: RDKafkaErrorCode::RequestTimedOut, message: String::new() };
        assert!(silent.is_in_doubt() && silent.to_string().starts_with("RequestTimedOut"), "{silent}");
    }
}
