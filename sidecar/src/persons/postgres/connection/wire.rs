//! Messages of PostgreSQL's protocol over a stream, each with a limit.
//!
//! Reads and writes can be cancelled at any point: what is read or to be sent stays in the buffers.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::server_error::ServerError;

/// Maximum size of a message after the login, in bytes. A row is one message, and an update with
/// REPLICA IDENTITY FULL has two rows. The producer sends messages of this size at most. PostgreSQL
/// itself has rows of up to 1 GiB.
pub(crate) const MAX_MESSAGE_BYTES: usize = 256 << 20;
/// Memory that small messages share.
const READ_BYTES: usize = 64 << 10;
/// Tag and length.
const HEADER_BYTES: usize = 5;

/// A stream of bytes: TCP, a Unix socket, or TLS.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> ByteStream for S {}

/// A message of the server.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) tag: u8,
    pub(crate) body: Bytes,
}

/// Tag and body length of the next message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHeader {
    pub(crate) tag: u8,
    pub(crate) bytes: usize,
}

/// Why no message could be read or sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    #[error("it closed the connection")]
    Closed,
    #[error("it announced a message of {bytes} bytes, and the limit is {limit}")]
    TooLarge { bytes: u64, limit: usize },
    #[error("it sent no message of PostgreSQL's protocol: is this the address of a PostgreSQL?")]
    NoMessage,
    #[error("a message of type {tag:?} ends before its {part}: please report this")]
    Short { tag: char, part: &'static str },
    #[error("it sent a message of type {0:?} at a time where the protocol has none: please report this")]
    Unexpected(char),
    #[error("{0}")]
    Server(ServerError),
}

impl From<ServerError> for WireError {
    fn from(error: ServerError) -> Self {
        Self::Server(error)
    }
}

impl WireError {
    /// The server's own error, if it reports one.
    pub(crate) fn server(&self) -> Option<&ServerError> {
        match self {
            Self::Server(error) => Some(error),
            _ => None,
        }
    }
}

/// A connection.
pub(crate) struct Wire {
    stream: Box<dyn ByteStream>,
    input: BytesMut,
    output: BytesMut,
}

impl Wire {
    pub(crate) fn new(stream: Box<dyn ByteStream>) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new() }
    }

    /// Waits for the header of the next message, whose body may have at most `limit` bytes.
    pub(crate) async fn header(&mut self, limit: usize) -> Result<FrameHeader, WireError> {
        while self.input.len() < HEADER_BYTES {
            self.fill(HEADER_BYTES - self.input.len()).await?;
        }
        let mut header = &self.input[..HEADER_BYTES];
        let (tag, length) = (header.get_u8(), header.get_u32());
        if !tag.is_ascii_alphanumeric() || length < 4 {
            return Err(WireError::NoMessage);
        }
        match usize::try_from(length - 4) {
            Ok(bytes) if bytes <= limit => Ok(FrameHeader { tag, bytes }),
            _ => Err(WireError::TooLarge { bytes: u64::from(length), limit }),
        }
    }

    /// Waits for the rest of the message with this header.
    pub(crate) async fn body(&mut self, header: FrameHeader) -> Result<Frame, WireError> {
        let whole = HEADER_BYTES + header.bytes;
        while self.input.len() < whole {
            self.fill(whole - self.input.len()).await?;
        }
        self.input.advance(HEADER_BYTES);
        let body = self.input.split_to(header.bytes).freeze();
        if header.bytes > READ_BYTES {
            // Otherwise small messages that follow would keep this one in memory.
            self.input = BytesMut::from(&self.input[..]);
        }
        Ok(Frame { tag: header.tag, body })
    }

    /// Waits for the next message. Errors of the server are returned as such.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Frame, WireError> {
        let header = self.header(limit).await?;
        let frame = self.body(header).await?;
        match frame.tag {
            b'E' => Err(ServerError::parse(&frame.body).into()),
            _ => Ok(frame),
        }
    }

    /// Reads at least one byte of those that are missing. Space that is left is used first, because
    /// each message keeps the memory of its neighbours.
    async fn fill(&mut self, missing: usize) -> Result<(), WireError> {
        if self.input.capacity() - self.input.len() < missing {
            self.input.reserve(missing.max(READ_BYTES));
        }
        match self.stream.read_buf(&mut self.input).await? {
            0 => Err(WireError::Closed),
            _ => Ok(()),
        }
    }

    /// The buffer of messages to send; [`Wire::flush`] sends it.
    pub(crate) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    pub(crate) async fn flush(&mut self) -> Result<(), WireError> {
        while self.output.has_remaining() {
            self.stream.write_buf(&mut self.output).await?;
        }
        self.stream.flush().await?;
        Ok(())
    }

    /// Ends the session, and closes the stream.
    pub(crate) async fn end(&mut self) -> Result<(), WireError> {
        postgres_protocol::message::frontend::terminate(&mut self.output);
        self.flush().await?;
        self.stream.shutdown().await?;
        Ok(())
    }
}

/// A reader of a message's fields.
pub(crate) struct FrameFields {
    tag: u8,
    data: Bytes,
}

impl FrameFields {
    pub(crate) fn new(frame: Frame) -> Self {
        Self { tag: frame.tag, data: frame.body }
    }

    pub(crate) fn u8(&mut self, part: &'static str) -> Result<u8, WireError> {
        self.data.try_get_u8().map_err(|_| self.short(part))
    }

    pub(crate) fn u16(&mut self, part: &'static str) -> Result<u16, WireError> {
        self.data.try_get_u16().map_err(|_| self.short(part))
    }

    pub(crate) fn i32(&mut self, part: &'static str) -> Result<i32, WireError> {
        self.data.try_get_i32().map_err(|_| self.short(part))
    }

    pub(crate) fn u64(&mut self, part: &'static str) -> Result<u64, WireError> {
        self.data.try_get_u64().map_err(|_| self.short(part))
    }

    pub(crate) fn take(&mut self, bytes: usize, part: &'static str) -> Result<Bytes, WireError> {
        match self.data.len() < bytes {
            true => Err(self.short(part)),
            false => Ok(self.data.split_to(bytes)),
        }
    }

    /// A text that ends with a zero byte.
    pub(crate) fn text(&mut self, part: &'static str) -> Result<String, WireError> {
        let end = self.data.iter().position(|byte| *byte == 0).ok_or_else(|| self.short(part))?;
        let text = self.take(end, part)?;
        self.data.advance(1);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    pub(crate) fn rest(self) -> Bytes {
        self.data
    }

    fn short(&self, part: &'static str) -> WireError {
        WireError::Short { tag: char::from(self.tag), part }
    }
}

/// Whether a status asks the server for a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplyRequest {
    None,
    Now,
}

/// Appends a status of a standby: everything before `place` is written, flushed and applied.
pub(crate) fn put_status(output: &mut BytesMut, place: u64, micros: i64, reply: ReplyRequest) {
    // CopyData with its length, then the message with its own tag.
    output.put_u8(b'd');
    output.put_u32(4 + 1 + 3 * 8 + 8 + 1);
    output.put_u8(b'r');
    for _ in ["written", "flushed", "applied"] {
        output.put_u64(place);
    }
    output.put_i64(micros);
    output.put_u8(u8::from(reply == ReplyRequest::Now));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(bytes: &'static [u8]) -> Wire {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move { theirs.write_all(bytes).await });
        Wire::new(Box::new(ours))
    }

    #[tokio::test]
    async fn reads_messages_and_refuses_other_bytes() {
        let mut good = wire(b"Z\0\0\0\x05IE\0\0\0\x0eC42710\0M!\0\0");
        assert_eq!(good.read(10).await.expect("a message").body, b"I"[..]);
        let error = good.read(100).await.expect_err("an error");
        assert_eq!(error.server().map(ToString::to_string).as_deref(), Some("! (42710)"));
        assert!(matches!(good.read(10).await, Err(WireError::Closed)));
        for (bytes, limit) in [
            (&b"HTTP/1.1 400 Bad\r\n\r\n"[..], 1 << 30),
            (b"R\xff\xff\xff\xfb", 10),
            (b"R\x7f\xff\xff\xff", 1 << 30),
            (b"Z\0\0\0\x05I", 0),
        ] {
            assert!(matches!(wire(bytes).read(limit).await, Err(WireError::TooLarge { .. })), "{bytes:?}");
        }
        for bytes in [&b"R\0\0\0\x03"[..], b"\0\0\0\0\x08abcd"] {
            assert!(matches!(wire(bytes).read(1 << 30).await, Err(WireError::NoMessage)), "{bytes:?}");
        }
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let fields = || FrameFields::new(Frame { tag: b'D', body: Bytes::from_static(b"\x01\x02ab") });
        assert!(matches!(fields().u64("number"), Err(WireError::Short { tag: 'D', part: "number" })));
        assert!(fields().take(5, "value").is_err() && fields().text("name").is_err());
        assert_eq!(fields().u16("count").expect("a number"), 0x102);
    }
}
