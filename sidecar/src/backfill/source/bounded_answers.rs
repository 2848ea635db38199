//! Limits of the answers that the store client holds in memory: listings and error messages.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use tokio::time::{Instant, timeout_at};

/// Marks a listing, in the query of S3 and of GCS.
const LISTING: &str = "list-type=2";
/// The parameter of a listing with the place where it goes on.
const CONTINUATION: &str = "continuation-token";
/// Maximum size of a page: 1,000 keys of 1 KiB, each byte escaped.
const MAX_PAGE_BYTES: usize = 32 << 20;
/// Longest part of an error message that is read.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Time for an answer, in addition to that of [`MIN_PACE`].
const TIME: Duration = Duration::from_secs(30);
/// Slowest pace of an answer, in bytes a second.
const MIN_PACE: usize = 16 << 10;

#[derive(Debug, thiserror::Error)]
enum BoundedAnswerError {
    #[error("the page of a listing has more than {MAX_PAGE_BYTES} bytes")]
    LongPage,
    #[error("the answer has {received} bytes after {seconds} s and goes on")]
    Slow { received: usize, seconds: u64 },
    #[error("the listing repeats a page")]
    Repeated,
}

impl From<BoundedAnswerError> for HttpError {
    fn from(error: BoundedAnswerError) -> Self {
        let kind = match error {
            BoundedAnswerError::Slow { .. } => HttpErrorKind::Timeout,
            BoundedAnswerError::LongPage | BoundedAnswerError::Repeated => HttpErrorKind::Decode,
        };
        Self::new(kind, error)
    }
}

/// Connects clients whose listings and error messages are bounded.
#[derive(Debug, Default)]
pub(super) struct BoundedAnswers(ReqwestConnector);

impl HttpConnector for BoundedAnswers {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        self.0.connect(options).map(BoundedService).map(HttpClient::new)
    }
}

#[derive(Debug)]
struct BoundedService(HttpClient);

#[async_trait::async_trait]
impl HttpService for BoundedService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let listing = request.uri().query().filter(|query| query.contains(LISTING)).map(str::to_owned);
        let response = self.0.execute(request).await?;
        let is_success = response.status().is_success();
        if is_success && listing.is_none() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        if !is_success {
            let message = read(body, MAX_ERROR_BYTES).await?;
            return Ok(HttpResponse::from_parts(head, message.bytes.into()));
        }
        let page = read(body, MAX_PAGE_BYTES).await?;
        if page.is_cut {
            return Err(BoundedAnswerError::LongPage.into());
        }
        if listing.is_some_and(|query| repeats(&query, &page.bytes)) {
            return Err(BoundedAnswerError::Repeated.into());
        }
        Ok(HttpResponse::from_parts(head, page.bytes.into()))
    }
}

/// The begin of a body.
struct BodyBegin {
    bytes: Bytes,
    is_cut: bool,
}

async fn read(body: HttpResponseBody, limit: usize) -> Result<BodyBegin, HttpError> {
    let (mut stream, mut bytes, begin) = (body.bytes_stream(), BytesMut::new(), Instant::now());
    loop {
        let pace = Duration::from_secs_f64(bytes.len() as f64 / MIN_PACE as f64);
        let slow = |_| BoundedAnswerError::Slow { received: bytes.len(), seconds: begin.elapsed().as_secs() };
        match timeout_at(begin + TIME + pace, stream.next()).await.map_err(slow)? {
            None => return Ok(BodyBegin { bytes: bytes.freeze(), is_cut: false }),
            Some(piece) => {
                let piece = piece?;
                let wanted = piece.len().min(limit - bytes.len());
                bytes.extend_from_slice(piece.get(..wanted).unwrap_or_default());
                if wanted < piece.len() {
                    return Ok(BodyBegin { bytes: bytes.freeze(), is_cut: true });
                }
            }
        }
    }
}

/// Whether a page goes on where it was asked to begin, so that the listing would never end.
fn repeats(query: &str, page: &[u8]) -> bool {
    let asked = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == CONTINUATION);
    let Some((_, token)) = asked.filter(|(_, token)| !token.is_empty()) else { return false };
    // Stores use characters in tokens that need no escape in XML.
    let next = format!("<NextContinuationToken>{token}</NextContinuationToken>");
    memchr::memmem::find(page, next.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_a_body_up_to_its_limit() {
        let whole = read(Bytes::from_static(b"abc").into(), 3).await.expect("a body");
        assert_eq!((whole.bytes.as_ref(), whole.is_cut), (&b"abc"[..], false));
        let cut = read(Bytes::from_static(b"abcd").into(), 3).await.expect("a body");
        assert_eq!((cut.bytes.as_ref(), cut.is_cut), (&b"abc"[..], true));
    }

    #[test]
    fn tells_a_page_that_repeats_itself() {
        let page = b"<IsTruncated>true</IsTruncated><NextContinuationToken>a/b=</NextContinuationToken>";
        assert!(repeats("list-type=2&continuation-token=a%2Fb%3D", page));
        assert!(!repeats("list-type=2&continuation-token=a%2Fb", page));
        assert!(!repeats("list-type=2", page));
    }
}
