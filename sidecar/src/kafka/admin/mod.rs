//! Topics made, changed and taken away, with what the broker says about each.

pub(super) mod request;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafka;

use self::request::{ConfigChange, NewTopic, Refusal};
use super::native::{self, Answers};
use super::{Client, KafkaError};

/// How long the controller may take: it writes each partition to its log, which takes milliseconds, or seconds for
/// thousands of them.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

impl Client {
    /// Creates topics.
    ///
    /// # Errors
    /// [`KafkaError::Refused`] if the request failed as a whole; what failed for one topic is in the answers.
    pub async fn create_topics(&self, topics: Vec<NewTopic>) -> Result<Answers, KafkaError> {
        self.change("create topics", move |client| native::create_topics(client, &topics, CHANGE_LIMIT)).await
    }

    /// Gives topics more partitions: each its new number in all.
    ///
    /// # Errors
    /// As [`Client::create_topics`].
    pub async fn create_partitions(&self, topics: BTreeMap<String, usize>) -> Result<Answers, KafkaError> {
        let ask = move |client: &RDKafka| native::create_partitions(client, &topics, CHANGE_LIMIT);
        self.change("add partitions", ask).await
    }

    /// Changes configs of topics; those not named stay as they are.
    ///
    /// # Errors
    /// As [`Client::create_topics`].
    pub async fn alter_configs(
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
    pub async fn delete_topics(&self, topics: Vec<String>) -> Result<Answers, KafkaError> {
        self.change("delete topics", move |client| native::delete_topics(client, &topics, CHANGE_LIMIT)).await
    }

    /// Has a thread of its own wait for the answer.
    async fn change(
        &self,
        task: &'static str,
        ask: impl FnOnce(&RDKafka) -> Result<Answers, Refusal> + Send + 'static,
    ) -> Result<Answers, KafkaError> {
        let admin = Arc::clone(&self.admin);
        let asked = tokio::task::spawn_blocking(move || {
            // SAFETY: the client lives as long as `admin`, which this closure holds.
            ask(unsafe { &*admin.inner().native_ptr() })
        });
        let answers = asked.await.map_err(|_| KafkaError::Task(task))?;
        answers.map_err(|refusal| KafkaError::Refused { brokers: self.brokers.clone(), task, refusal })
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
