//! A minimal HTTP client for ClickHouse: one POST per connection.
//!
//! A response that ends early is an error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail};

/// Loopback either connects at once or not at all.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// One line of a response's head or chunk. ClickHouse's lines are shorter.
const LINE_LIMIT: u64 = 16 * 1024;

/// Sends one statement and returns the node's response. `limit` bounds each wait for bytes.
///
/// # Errors
/// If the node refuses the statement, with the node's own text, or if the connection fails.
pub(crate) fn query(port: u16, sql: &str, limit: Duration) -> anyhow::Result<String> {
    Ok(query_with_summary(port, sql, limit)?.0)
}

/// Like [`query`], with the node's summary of the query as JSON.
///
/// # Errors
/// As [`query`].
pub(crate) fn query_with_summary(
    port: u16,
    sql: &str,
    limit: Duration,
) -> anyhow::Result<(String, Option<String>)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT)
        .with_context(|| format!("cannot connect to http://{address}"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    // wait_end_of_query, so that an error after the first rows still comes as an error.
    write!(
        stream,
        "POST /?wait_end_of_query=1 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{sql}",
        sql.len()
    )?;
    let Response { status, summary, body } = response(BufReader::new(stream))
        .with_context(|| format!("incomplete answer from http://{address}"))?;
    let body = String::from_utf8(body).context("the answer is not UTF-8")?;
    if status != 200 {
        bail!("{}", body.trim_end());
    }
    Ok((body, summary))
}

/// A whole response.
struct Response {
    status: u16,
    /// Header `X-ClickHouse-Summary`.
    summary: Option<String>,
    body: Vec<u8>,
}

/// Reads one response: status and body, chunked or with Content-Length.
fn response(mut stream: impl BufRead) -> anyhow::Result<Response> {
    let status = line(&mut stream)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.context("the answer is not HTTP")?;
    let (mut chunked, mut length, mut summary) = (false, None, None);
    loop {
        let header = line(&mut stream)?.to_ascii_lowercase();
        match header.split_once(':').map(|(name, value)| (name, value.trim())) {
            Some(("transfer-encoding", value)) => chunked = value == "chunked",
            Some(("content-length", value)) => {
                length = Some(value.parse().context("Content-Length is not a number")?);
            }
            Some(("x-clickhouse-summary", value)) => summary = Some(value.to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => exactly(&mut stream, length, &mut body)?,
        None if chunked => loop {
            let size = line(&mut stream)?;
            let size = u64::from_str_radix(&size, 16).with_context(|| format!("chunk size {size:?}"))?;
            exactly(&mut stream, size, &mut body)?;
            line(&mut stream)?;
            if size == 0 {
                break;
            }
        },
        None => bail!("the answer has neither Content-Length nor chunks, so its end is unknown"),
    }
    Ok(Response { status, summary, body })
}

fn line(stream: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    stream.take(LINE_LIMIT).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => bail!("the connection ended after {line:?}"),
    }
}

fn exactly(stream: &mut impl Read, length: u64, into: &mut Vec<u8>) -> anyhow::Result<()> {
    let read = stream.take(length).read_to_end(into)?;
    if (read as u64) < length {
        bail!("the connection ended after {read} of {length} bytes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lengths_and_chunks() {
        let sized = b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nCode:".as_slice();
        let read = response(sized).unwrap();
        assert_eq!((read.status, &read.body[..], read.summary), (404, &b"Code:"[..], None));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-ClickHouse-Summary: {}\r\n\r\n\
            3\r\n1\t2\r\nA\r\n\n123456789\r\n0\r\n\r\n";
        let read = response(chunked.as_slice()).unwrap();
        assert_eq!((read.status, &read.body[..]), (200, &b"1\t2\n123456789"[..]));
        assert_eq!(read.summary.as_deref(), Some("{}"));
    }

    #[test]
    fn a_torn_answer_is_an_error_wherever_it_is_torn() {
        let whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n1\t2\r\n0\r\n\r\n".as_slice();
        assert!(response(whole).is_ok());
        for end in 0..whole.len() {
            assert!(response(&whole[..end]).is_err(), "torn after {end} bytes");
        }
    }
}
