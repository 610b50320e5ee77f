//! A minimal HTTP/1.1 client: one request and one reply per connection, with a length or chunked.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// An HTTP response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header lines, with names in lower case.
    pub head: String,
    /// Body.
    pub body: String,
}

impl Reply {
    /// Value of the header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// If it is not JSON.
    pub fn json(&self) -> io::Result<Value> {
        Ok(serde_json::from_str(&self.body)?)
    }
}

/// Sends a GET request for `path` with further header lines.
///
/// # Errors
/// If a read takes longer than `limit`, or the response is malformed.
pub fn get(
    address: SocketAddr,
    path: &str,
    headers: &[&str],
    limit: Duration,
) -> io::Result<Reply> {
    request(address, "GET", path, headers, "", limit)
}

/// Sends a request with a body.
///
/// # Errors
/// As [`get`].
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &str,
    limit: Duration,
) -> io::Result<Reply> {
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for header in headers {
        head += header;
        head += "\r\n";
    }
    stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
    let mut received = Vec::new();
    let mut buffer = [0; 16384];
    loop {
        // Not every server closes the connection after the announced length.
        if let Some(reply) = complete(&received)? {
            return Ok(reply);
        }
        match stream.read(&mut buffer)? {
            0 => return Err(malformed("the reply ended early")),
            count => received.extend_from_slice(&buffer[..count]),
        }
    }
}

fn complete(received: &[u8]) -> io::Result<Option<Reply>> {
    let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&received[..end]).replace('\r', "");
    let (first, rest) = head.split_once('\n').unwrap_or((&head, ""));
    let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
    let rest = rest
        .lines()
        .map(|line| match line.split_once(':') {
            Some((name, value)) => format!("{}: {}\n", name.to_ascii_lowercase(), value.trim()),
            None => format!("{line}\n"),
        })
        .collect();
    let mut reply = Reply {
        status: status.ok_or_else(|| malformed(first))?,
        head: rest,
        body: String::new(),
    };
    let body = &received[end + 4..];
    let body = match reply.header("content-length") {
        Some(length) => {
            let length: usize = length.parse().map_err(|_| malformed(length))?;
            body.get(..length).map(<[u8]>::to_vec)
        }
        None => unchunked(body)?,
    };
    Ok(body.map(|body| {
        reply.body = String::from_utf8_lossy(&body).into_owned();
        reply
    }))
}

/// Decodes a chunked body (RFC 9112 section 7.1). `None` if it is incomplete.
fn unchunked(mut rest: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut whole = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = usize::from_str_radix(&size, 16).map_err(|_| malformed(&size))?;
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some(whole));
        }
        whole.extend_from_slice(chunk);
        rest = rest.get(end + 4 + size..).unwrap_or_default();
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
