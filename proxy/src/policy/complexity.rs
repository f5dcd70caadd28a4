//! Checks of a module before its compilation: that it is a complete core module, of a complexity
//! that compiles soon.

use wasmparser::{BinaryReaderError, Chunk, FunctionBody, Operator, Parser, Payload};

use super::error::{PluginError, Stage};
use super::limits::Limits;

/// The first bytes of every core module: magic number and version 1.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";
/// The first bytes of a component: its layer field is 1.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// Refuses anything but a complete core module, and too many or too large functions.
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
    let mut census = Census { limits, widest: 0, weight: 0 };
    loop {
        // Parsed as if more bytes were to come, which distinguishes a truncated module from a
        // malformed one.
        let (consumed, payload) = match parser.parse(rest, false).map_err(|e| malformed(&e))? {
            Chunk::Parsed { consumed, payload } => (consumed, payload),
            Chunk::NeedMoreData(_) if rest.is_empty() => return Ok(()),
            Chunk::NeedMoreData(_) => return Err("is cut short".into()),
        };
        rest = &rest[consumed..];
        census.count(payload)?;
    }
}

fn malformed(error: &BinaryReaderError) -> String {
    format!("does not compile: {error}")
}

/// The module's total complexity.
struct Census<'a> {
    limits: &'a Limits,
    /// Parameters and results of the widest type.
    widest: u64,
    weight: u64,
}

impl Census<'_> {
    fn count(&mut self, payload: Payload<'_>) -> Result<(), String> {
        match payload {
            Payload::TypeSection(types) => {
                for kind in types.into_iter_err_on_gc_types() {
                    let kind = kind.map_err(|e| malformed(&e))?;
                    self.widest = self.widest.max((kind.params().len() + kind.results().len()) as u64);
                }
            }
            Payload::FunctionSection(functions) if functions.count() > self.limits.functions => {
                let (count, most) = (functions.count(), self.limits.functions);
                return Err(format!("has {count} functions; a module may have {most}"));
            }
            Payload::CodeSectionEntry(body) => self.weigh(&body)?,
            _ => {}
        }
        Ok(())
    }

    fn weigh(&mut self, body: &FunctionBody<'_>) -> Result<(), String> {
        let (size, most) = (body.range().len(), self.limits.function_bytes);
        if size > most {
            return Err(format!("has a function of {size} bytes; one may have {most}"));
        }
        let mut locals = 0;
        for group in body.get_locals_reader().map_err(|e| malformed(&e))? {
            locals += u64::from(group.map_err(|e| malformed(&e))?.0);
        }
        let (blocks, loops) = count_blocks(body).map_err(|e| malformed(&e))?;
        if blocks > self.limits.blocks {
            return Err(format!("has a function of {blocks} blocks; one may have {}", self.limits.blocks));
        }
        let per_byte = locals.saturating_add(self.widest).saturating_add(Limits::OTHER_WORK);
        let weight = per_byte.saturating_mul(size as u64).saturating_add(Limits::LOOP_WORK * loops * loops);
        self.weight = self.weight.saturating_add(weight);
        if weight > self.limits.function_weight {
            let what = format!("{size} bytes, {locals} locals and {loops} loops");
            return Err(format!("has a function of {what}, which takes too long to compile"));
        }
        if self.weight > self.limits.module_weight {
            return Err(
                "has too many functions with many bytes, locals and loops, which take too long to compile".into()
            );
        }
        Ok(())
    }
}

/// The number of blocks, loops included, and of loops. Both are below the function's size in bytes,
/// so neither overflows.
fn count_blocks(body: &FunctionBody<'_>) -> Result<(u64, u64), BinaryReaderError> {
    let (mut blocks, mut loops) = (0, 0);
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Block { .. } | Operator::If { .. } => blocks += 1,
            Operator::Loop { .. } => (blocks, loops) = (blocks + 1, loops + 1),
            _ => {}
        }
    }
    Ok((blocks, loops))
}
