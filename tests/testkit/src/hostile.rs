//! Hostile and broken modules. Each file of `tests/guests` contains the fields in which a module
//! differs from a good policy; the rest is added here. Modules that can't be written as text are
//! generated.
//!
//! The good policy prefers the last endpoint and always asks for another attempt. `$asked` returns
//! whether a request's method begins with `eth_g`: the host's probe uses another method, so a
//! module can pass it and misbehave later.

use crate::site::workspace;

/// The fields of a good policy. A field is omitted if the file names its export.
const GOOD: [(&str, &str); 7] = [
    ("memory", r#"(memory (export "memory") 2)"#),
    ("pointsman_abi_version", r#"(func (export "pointsman_abi_version") (result i32) (i32.const 0x00010001))"#),
    (
        "pointsman_alloc",
        r#"(global $heap (mut i32) (i32.const 65536))
        (func (export "pointsman_alloc") (param $size i32) (param $align i32) (result i32) (local $at i32)
          (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 63)) (i32.const -64)))
          (global.set $heap (i32.add (local.get $at) (local.get $size)))
          (local.get $at))"#,
    ),
    ("pointsman_describe", r#"(func (export "pointsman_describe") (result i64) (i64.const 0x0000040000000040))"#),
    (
        "pointsman_configure",
        r#"(func (export "pointsman_configure") (param i32) (param i32) (result i64) (i64.const 0))"#,
    ),
    ("pointsman_score", r#"(export "pointsman_score" (func $score))"#),
    (
        "pointsman_retry",
        r#"(func (export "pointsman_retry") (param $request i32) (param $attempt i32) (param $decision i32)
          (i32.store offset=4 (local.get $decision) (i32.const 1)))"#,
    ),
];

/// The fields of every module beside its exports.
const COMMON: &str = r#"
(data (i32.const 1024) "{\22name\22:\22hostile\22,\22version\22:\221.0.0\22,\22kinds\22:[\22scoring\22,\22retry\22]}")
(func $asked (param $request i32) (result i32)
  (i32.eq (i32.load8_u offset=68 (local.get $request)) (i32.const 103)))
(func $score (param $request i32) (param $rows i32) (param $count i32) (param $scores i32) (local $i i32)
  (block $done (loop $next
    (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
    (f64.store (i32.add (local.get $scores) (i32.shl (local.get $i) (i32.const 3)))
      (f64.convert_i32_u (i32.load (i32.add (local.get $rows) (i32.shl (local.get $i) (i32.const 6))))))
    (local.set $i (i32.add (local.get $i) (i32.const 1)))
    (br $next))))
"#;

/// Modules that are too large or too broken for text.
pub const GENERATED: [&str; 11] = [
    "empty",
    "truncated",
    "not-wasm",
    "many-functions",
    "large-function",
    "many-locals",
    "wide-blocks",
    "many-heavy-functions",
    "many-blocks",
    "many-loops",
    "large-data-segment",
];

/// The names of the files in `tests/guests`, without their extension.
pub fn hostile_files() -> Vec<String> {
    let entries = std::fs::read_dir(workspace().join("tests/guests")).expect("the folder of guests");
    let names =
        entries.map(|entry| entry.expect("a file").path().file_stem().map(|n| n.to_string_lossy().into_owned()));
    names.map(|name| name.expect("a name")).collect()
}

/// A good policy, as `hostile` 1.0.0.
pub fn harmless() -> Vec<u8> {
    assemble("")
}

/// A hostile module by its name.
#[track_caller]
pub fn hostile(name: &str) -> Vec<u8> {
    if GENERATED.contains(&name) {
        return generate(name);
    }
    let file = workspace().join("tests/guests").join(name).with_extension("wat");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    if text.starts_with("(component") { wat::parse_str(&text).expect("a component") } else { assemble(&text) }
}

#[track_caller]
fn assemble(fields: &str) -> Vec<u8> {
    let is_missing = |export: &str| !fields.contains(&format!("\"{export}\""));
    // Imports come first in a module, so files with imports begin with them.
    let good = GOOD.iter().filter(|(export, _)| is_missing(export)).map(|(_, field)| *field);
    let text = format!("(module {fields}\n{}\n{COMMON})", good.collect::<Vec<_>>().join("\n"));
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn generate(name: &str) -> Vec<u8> {
    match name {
        "empty" => Vec::new(),
        "truncated" => harmless()[..harmless().len() / 2].to_vec(),
        "not-wasm" => b"#!/bin/sh\nexec rm -rf /\n".to_vec(),
        "many-functions" => assemble(&"(func)".repeat(100_000)),
        "large-function" => assemble(&format!("(func {})", "(drop (i32.const 1))".repeat(200_000))),
        // Both would need gigabytes in a compiler: each local or parameter needs a value wherever
        // blocks join.
        "many-locals" => assemble(&many_locals(1_000)),
        "wide-blocks" => assemble(&wide_blocks(1_000, 1_000)),
        "many-heavy-functions" => assemble(&many_locals(150).repeat(40)),
        "many-blocks" => assemble(&format!("(func {})", "(block)".repeat(5_000))),
        "many-loops" => assemble(&format!("(func {} {})", "loop ".repeat(2_000), "end ".repeat(2_000))),
        "large-data-segment" => assemble(&format!("(data \"{}\")", "x".repeat(9 << 20))),
        _ => unreachable!("{name} is not among the generated modules"),
    }
}

/// A function with 2,000 locals and `joins` places where blocks join.
fn many_locals(joins: usize) -> String {
    let join = |i: usize| format!("(if (local.get {}) (then (local.set {} (i32.const 1))))", i % 2_000, i * 7 % 2_000);
    format!("(func (local {}) {})", "i32 ".repeat(2_000), (0..joins).map(join).collect::<String>())
}

/// A function of `blocks` blocks that each pass on `width` values.
fn wide_blocks(width: usize, blocks: usize) -> String {
    let values = "i32 ".repeat(width);
    let begin = "(i32.const 1)".repeat(width);
    let blocks = "(block (type $wide))".repeat(blocks);
    format!("(type $wide (func (param {values}) (result {values}))) (func {begin} {blocks} {})", "drop ".repeat(width))
}
