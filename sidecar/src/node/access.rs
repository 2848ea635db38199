//! Access to a node: login, deadlines, and the meaning of failures.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use clickhouse::Client;
use clickhouse::error::Error as ClientError;
use tokio::sync::Mutex;
use tokio::time::timeout;
use url::Url;

use super::answer::AnswerFault;
use super::client::NodeClients;
use super::connector::NodeTls;
use super::error::{NodeError, answer_fault, exception, root_cause};
use crate::config::{ClickHouse, is_local};
use crate::secret::{Credential, Secret};

/// Limit of one statement while its node still answers probes. No statement of posthouse needs as
/// long.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(12 * 3600);

const REACH: &str = include_str!("../../../sql/inspect/reach.sql");

/// The way to one node, shared by the clones of it.
#[derive(Debug)]
pub(super) struct NodeAccess {
    name: String,
    url: Url,
    clients: NodeClients,
    password: Option<Credential>,
    /// Held while the source of the password is read, so that one request does it for all.
    rereading: Mutex<()>,
    pub(super) timeout: Duration,
}

impl NodeAccess {
    pub(super) fn new(name: &str, url: &Url, access: &ClickHouse, tls: Option<&NodeTls>) -> Self {
        Self {
            name: name.to_owned(),
            url: url.clone(),
            clients: NodeClients::new(url, access, tls),
            password: access.password.clone(),
            rereading: Mutex::new(()),
            timeout: access.timeout,
        }
    }

    /// Whether the node is on this machine.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.url)
    }

    /// The password of the next request.
    pub(super) fn password(&self) -> Option<Secret> {
        self.password.as_ref().map(Credential::secret)
    }

    /// The client of statements whose answer is complete before it is sent.
    pub(super) fn complete(&self, password: Option<&Secret>) -> Client {
        with_password(&self.clients.complete, password)
    }

    /// The client of results that are sent while they are computed.
    pub(super) fn streamed(&self, password: Option<&Secret>) -> Client {
        with_password(&self.clients.streamed, password)
    }

    /// Sends a statement with the current password, and again with a new one if the node refuses
    /// that. The server has not executed a statement that it refuses so.
    pub(super) async fn statement<T, F>(&self, send: impl Fn(Client) -> F) -> Result<T, NodeError>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let password = self.password();
        match self.answered(send(self.complete(password.as_ref()))).await {
            Err(error) if error.is_login() && self.has_new_password(password.as_ref()).await => {
                self.answered(send(self.complete(self.password().as_ref()))).await
            }
            other => other,
        }
    }

    /// Whether there is another password than `refused`, after its source was read again.
    pub(super) async fn has_new_password(&self, refused: Option<&Secret>) -> bool {
        let (Some(credential), Some(refused)) = (self.password.clone(), refused.cloned()) else {
            return false;
        };
        let _one = self.rereading.lock().await;
        // A command may take seconds.
        tokio::task::spawn_blocking(move || credential.reread(&refused)).await.unwrap_or(false)
    }

    /// Turns the refusal of an insert's password into a failure that a retry may solve, if there is
    /// a new password. The rows of the insert are gone, so its caller repeats it.
    pub(super) async fn explain_insert(&self, error: NodeError, password: Option<&Secret>) -> NodeError {
        if error.is_login() && self.has_new_password(password).await {
            self.unreachable("it refused the former password, and there is a new one".to_owned())
        } else {
            error
        }
    }

    /// Checks that the node answers a query.
    pub(super) async fn probe(&self, within: Duration) -> Result<(), NodeError> {
        let password = self.password();
        match self.probe_with(password.as_ref(), within).await {
            Err(error) if error.is_login() && self.has_new_password(password.as_ref()).await => {
                self.probe_with(self.password().as_ref(), within).await
            }
            other => other,
        }
    }

    async fn probe_with(&self, password: Option<&Secret>, within: Duration) -> Result<(), NodeError> {
        let answer = timeout(within, self.complete(password).query_raw(REACH).execute()).await;
        answer
            .map_err(|_| self.unreachable(format!("no answer within {}", shown(within))))?
            .map_err(|error| self.explain(error))
    }

    /// Waits for `work` as long as the node answers probes, because a long ALTER is no outage. The
    /// limit is [`STATEMENT_TIMEOUT`]. The first silence and the probe get half of the time each,
    /// so that a dead node is detected within `clickhouse.timeout`.
    pub(super) async fn answered<T>(
        &self,
        work: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, NodeError> {
        let half = self.timeout / 2;
        let mut work = pin!(work);
        let answer = async {
            loop {
                match timeout(half, &mut work).await {
                    Ok(result) => return result.map_err(|error| self.explain(error)),
                    Err(_) => self.probe(half).await?,
                }
            }
        };
        timeout(STATEMENT_TIMEOUT, answer).await.map_err(|_| self.unfinished())?
    }

    pub(super) fn unfinished(&self) -> NodeError {
        let hours = STATEMENT_TIMEOUT.as_secs() / 3600;
        self.unreachable(format!("it answers, and did not finish a statement within {hours} h"))
    }

    pub(super) fn explain(&self, error: ClientError) -> NodeError {
        match error {
            ClientError::BadResponse(text) => {
                let (code, message) = exception(&text);
                NodeError::Refused { name: self.name.clone(), url: self.url.to_string(), code, message }
            }
            ClientError::Network(cause) => match answer_fault(cause.as_ref()) {
                None | Some(AnswerFault::Slow { .. }) => self.unreachable(root_cause(cause.as_ref())),
                Some(fault) => self.malformed(fault),
            },
            other => self.malformed(other),
        }
    }

    fn malformed(&self, error: impl std::error::Error) -> NodeError {
        NodeError::Answer { name: self.name.clone(), url: self.url.to_string(), problem: error.to_string() }
    }

    pub(super) fn unreachable(&self, problem: String) -> NodeError {
        NodeError::Unreachable { name: self.name.clone(), url: self.url.to_string(), problem }
    }
}

fn with_password(client: &Client, password: Option<&Secret>) -> Client {
    match password {
        Some(password) => client.clone().with_password(password.reveal()),
        None => client.clone(),
    }
}

/// A duration in seconds, or in milliseconds if it is no whole number of them.
pub(super) fn shown(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{} s", duration.as_secs()),
        _ => format!("{} ms", duration.as_millis()),
    }
}
