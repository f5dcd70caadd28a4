//! Bodies in chunks (RFC 9112, section 7.1).

use super::After::{Closed, Kept};
use super::{Case, with_head};
use crate::support::json;

/// A request with such a body.
pub(super) fn of(body: &str) -> Vec<u8> {
    with_head("POST /only HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked", body)
}

pub(super) fn cases() -> Vec<Case> {
    [good(), bad_sizes(), bad_ends()].into_iter().flatten().collect()
}

fn good() -> Vec<Case> {
    let (n, read) = (json::READ.len(), json::READ);
    let (first, rest) = read.split_at(10);
    let many: String = read.chars().map(|character| format!("1\r\n{character}\r\n")).collect();
    [
        ("one chunk", format!("{n:x}\r\n{read}\r\n0\r\n\r\n")),
        ("a size in capitals", format!("{n:X}\r\n{read}\r\n0\r\n\r\n")),
        ("a size with zeros", format!("{n:08x}\r\n{read}\r\n0\r\n\r\n")),
        ("a size of 16 digits", format!("{n:016x}\r\n{read}\r\n0\r\n\r\n")),
        ("many zeros at the end", format!("{n:x}\r\n{read}\r\n00000\r\n\r\n")),
        ("two chunks", format!("a\r\n{first}\r\n{:X}\r\n{rest}\r\n0\r\n\r\n", rest.len())),
        ("a chunk for each byte", format!("{many}0\r\n\r\n")),
        ("an extension", format!("{n:x};a\r\n{read}\r\n0\r\n\r\n")),
        ("an extension with a value", format!("{n:x};a=b\r\n{read}\r\n0;c=d\r\n\r\n")),
        ("a quoted extension", format!("{n:x};a=\"b;c\"\r\n{read}\r\n0\r\n\r\n")),
        ("an extension after a space", format!("{n:x} ;a\r\n{read}\r\n0\r\n\r\n")),
        ("an empty extension", format!("{n:x};\r\n{read}\r\n0\r\n\r\n")),
        ("an extension of 1,000 bytes", format!("{n:x};{}\r\n{read}\r\n0\r\n\r\n", "a".repeat(1_000))),
        ("a trailer", format!("{n:x}\r\n{read}\r\n0\r\nx: y\r\n\r\n")),
        ("two trailers", format!("{n:x}\r\n{read}\r\n0\r\nx: y\r\nz: 1\r\n\r\n")),
        ("a trailer that is a length", format!("{n:x}\r\n{read}\r\n0\r\ncontent-length: 5\r\n\r\n")),
        ("a trailer that is a coding", format!("{n:x}\r\n{read}\r\n0\r\ntransfer-encoding: gzip\r\n\r\n")),
    ]
    .into_iter()
    .map(|(what, body)| Case::served(format!("chunks: {what}"), of(&body)))
    .chain([Case::answered("chunks: nothing in them", of("0\r\n\r\n"), 400, Kept)])
    .chain([Case::served(
        "chunks: and the connection is closed by the client",
        with_head(
            "POST /only HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\ntransfer-encoding: chunked",
            &format!("{n:x}\r\n{read}\r\n0\r\n\r\n"),
        ),
    )
    .then(Closed)])
    .collect()
}

fn bad_sizes() -> Vec<Case> {
    let (n, read) = (json::READ.len(), json::READ);
    let sizes = [
        "zz".to_owned(),
        "g".to_owned(),
        format!("-{n:x}"),
        format!("+{n:x}"),
        format!("0x{n:x}"),
        format!("{n:x}h"),
        format!(" {n:x}"),
        format!("\t{n:x}"),
        format!("{n:x} {n:x}"),
        format!("{n:x},"),
        format!("{n:x}.0"),
        format!("\"{n:x}\""),
        format!("{n:x}\0"),
        format!("{n:x}\u{b}"),
        format!("{n:x}\ra"),
        format!("{n:x}\n"),
        format!("{n:017x}"),
        String::new(),
        ";a".to_owned(),
        format!("{n:x} "),
        format!("{n:x};a\nb"),
        format!("{n:x};a\rb"),
        format!("{n:x};\0"),
        "fffffffffffffffff".to_owned(),
        "10000000000000000".to_owned(),
        format!("1000000000000000{n:x}"),
        "\u{663}".to_owned(),
    ];
    let case =
        |size: &String| Case::refused(format!("chunk size {size:?}"), of(&format!("{size}\r\n{read}\r\n0\r\n\r\n")));
    let mut cases: Vec<Case> = sizes.iter().map(case).collect();
    // Refused as soon as the size is read.
    for size in [
        "a00001",
        "ffffffffffff",
        "7ffffffffffffff0",
        "7ffffffffffffffe",
        "7fffffffffffffff",
        "8000000000000000",
        "fffffffffffffff0",
        "fffffffffffffffe",
        "ffffffffffffffff",
        "FFFFFFFFFFFFFFFF",
    ] {
        let bytes = of(&format!("{size}\r\n"));
        cases.push(Case::answered(format!("chunk size {size:?} and nothing"), bytes, 413, Closed));
        let bytes = of(&format!("1\r\n \r\n{size}\r\n{read}"));
        cases.push(Case::answered(format!("chunk size {size:?} of a second chunk"), bytes, 413, Closed));
    }
    cases
}

fn bad_ends() -> Vec<Case> {
    let (n, read) = (json::READ.len(), json::READ);
    [
        ("LF after the size", format!("{n:x}\n{read}\r\n0\r\n\r\n")),
        ("CR after the size", format!("{n:x}\r{read}\r\n0\r\n\r\n")),
        ("nothing after the chunk", format!("{n:x}\r\n{read}0\r\n\r\n")),
        ("LF after the chunk", format!("{n:x}\r\n{read}\n0\r\n\r\n")),
        ("CR after the chunk", format!("{n:x}\r\n{read}\r0\r\n\r\n")),
        ("another byte before the end of the chunk", format!("{n:x}\r\n{read} \r\n0\r\n\r\n")),
        ("two bytes instead of the end of the chunk", format!("{n:x}\r\n{read}xx0\r\n\r\n")),
        ("a size that is too small", format!("{:x}\r\n{read}\r\n0\r\n\r\n", n - 1)),
        ("a size that is too large", format!("{:x}\r\n{read}\r\n0\r\n\r\n", n + 1)),
        ("LF after the last size", format!("{n:x}\r\n{read}\r\n0\n\r\n")),
        ("LF at the end", format!("{n:x}\r\n{read}\r\n0\r\n\n")),
        ("CR and another byte at the end", format!("{n:x}\r\n{read}\r\n0\r\n\rx\r\n\r\n")),
        ("LF after a trailer", format!("{n:x}\r\n{read}\r\n0\r\nx: y\n\r\n")),
        ("an extension without end", format!("{n:x};{}\r\n{read}\r\n0\r\n\r\n", "a".repeat(200_000))),
        ("zeros without end", format!("{}\r\n{read}\r\n0\r\n\r\n", "0".repeat(200_000))),
        ("a trailer without end", format!("{n:x}\r\n{read}\r\n0\r\nx: {}\r\n\r\n", "a".repeat(200_000))),
        ("an empty size at the end", format!("{n:x}\r\n{read}\r\n\r\n\r\n")),
        ("a trailer without a colon", format!("{n:x}\r\n{read}\r\n0\r\nx\r\n\r\n")),
        ("a trailer that is folded", format!("{n:x}\r\n{read}\r\n0\r\nx: y\r\n z\r\n\r\n")),
        ("a trailer with a space before its colon", format!("{n:x}\r\n{read}\r\n0\r\nx : y\r\n\r\n")),
        ("NUL in a trailer", format!("{n:x}\r\n{read}\r\n0\r\nx: \0\r\n\r\n")),
        ("a chunk after the last one", format!("0\r\n{n:x}\r\n{read}\r\n0\r\n\r\n")),
        ("no chunk at all", read.to_owned()),
    ]
    .into_iter()
    .map(|(what, body)| Case::refused(format!("chunks: {what}"), of(&body)))
    .collect()
}
