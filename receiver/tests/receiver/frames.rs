//! HTTP/2 as no library would speak it: frames, byte by byte. RFC 9113 has the frames, RFC 7541 the fields.

use crate::running::PATH;

/// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

/// Flags of frames.
pub(crate) const NONE: u8 = 0;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// Settings: how many bytes of fields the other side may let this one remember, and how much of an answer it may send unasked.
pub(crate) const HEADER_TABLE_SIZE: u16 = 1;
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

/// The largest payload that everybody takes.
pub(crate) const LARGEST: usize = 16 * 1024;

/// How a client begins.
pub(crate) fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), self::settings(settings)].concat()
}

pub(crate) fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
    let pairs: Vec<u8> = settings.iter().flat_map(pair).collect();
    frame(SETTINGS, NONE, 0, &pairs)
}

/// One frame of a stream.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes()[..], payload].concat()
}

/// The fields of a request for the endpoint, with these beside.
pub(crate) fn request(more: &[(&str, &str)]) -> Vec<u8> {
    let own = [(":method", "POST"), (":scheme", "http"), (":path", PATH), (":authority", "receiver")];
    own.iter().chain(more).flat_map(|(name, value)| field(name, value)).collect()
}

/// A field as it stands, that nobody has to remember.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    [vec![0], text(name), text(value)].concat()
}

/// A field that the other side has to remember: it becomes entry 62.
pub(crate) fn remembered(name: &str, value: &str) -> Vec<u8> {
    [vec![0x40], text(name), text(value)].concat()
}

/// The field that was remembered last, in one byte.
pub(crate) const LAST_REMEMBERED: u8 = 0x80 | 0x3e;

fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match u8::try_from(text.len()) {
        Ok(length) if length < 127 => bytes.push(length),
        _ => {
            bytes.push(127);
            let mut left = text.len() - 127;
            while left >= 128 {
                bytes.push(u8::try_from(left % 128).unwrap() | 128);
                left /= 128;
            }
            bytes.push(u8::try_from(left).unwrap());
        }
    }
    bytes.extend(text.as_bytes());
    bytes
}
