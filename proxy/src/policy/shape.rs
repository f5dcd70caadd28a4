//! What is seen of a module before it is compiled: whether it is one, whole, and of a size that compiles soon.

use wasmparser::{Chunk, Parser, Payload};

use super::error::{PluginError, Stage};
use super::limits::Limits;

/// The first bytes of every core module: magic number and version 1.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The same for a component: its layer field is 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Refuses what isn't a core module, is cut short, or has too many or too large functions.
pub(super) fn check(wasm: &[u8], limits: &Limits) -> Result<(), PluginError> {
    check_size(wasm, limits)
        .and_then(|()| check_kind(wasm))
        .and_then(|()| check_functions(wasm, limits))
        .map_err(refusal)
}

fn refusal(reason: String) -> PluginError {
    PluginError::new(Stage::Compile, reason)
}

fn check_size(wasm: &[u8], limits: &Limits) -> Result<(), String> {
    let most = limits.module_bytes;
    if wasm.len() > most { Err(format!("is larger than the {most} bytes that a module may have")) } else { Ok(()) }
}

fn check_kind(wasm: &[u8]) -> Result<(), String> {
    if wasm.is_empty() {
        Err("is empty".into())
    } else if wasm.starts_with(COMPONENT) {
        Err("is a component; a policy is a core module".into())
    } else if !wasm.starts_with(CORE_MODULE) {
        Err("is not a WebAssembly module".into())
    } else {
        Ok(())
    }
}

fn check_functions(wasm: &[u8], limits: &Limits) -> Result<(), String> {
    let (mut parser, mut rest) = (Parser::new(0), wasm);
    loop {
        // Parsed as if more were to come: what is missing at the end is then told from what is wrong.
        let chunk = parser.parse(rest, false).map_err(|e| format!("does not compile: {e}"))?;
        let (consumed, payload) = match chunk {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            Chunk::NeedMoreData(_) if rest.is_empty() => return Ok(()),
            Chunk::NeedMoreData(_) => return Err("is cut short".into()),
        };
        rest = &rest[consumed..];
        match payload {
            Payload::FunctionSection(functions) if functions.count() > limits.functions => {
                let (count, most) = (functions.count(), limits.functions);
                return Err(format!("has {count} functions; a module may have {most}"));
            }
            Payload::CodeSectionEntry(body) if body.range().len() > limits.function_bytes => {
                let (size, most) = (body.range().len(), limits.function_bytes);
                return Err(format!("has a function of {size} bytes; one may have {most}"));
            }
            _ => {}
        }
    }
}
