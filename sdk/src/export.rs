//! The functions behind [`export_policy!`](crate::export_policy): the boundary between memory
//! written by the proxy and the types of this crate. Not part of the public interface.
//!
//! Invariants:
//! - All of the crate's `unsafe` is in this file. Elsewhere a block is a reference or a slice of
//!   words.
//! - A call that breaks the ABI (a null or misaligned pointer, a block shorter than in its first
//!   version, a hot call before `configure`) panics, which is a trap in a module. It is never
//!   undefined behaviour as long as the pointers are within the module's memory, which WebAssembly
//!   ensures.
//! - A hot call allocates nothing.

#![expect(unsafe_code, reason = "the ABI passes pointers; each block says why it is sound")]

use std::mem::offset_of;
use std::ops::Deref;
use std::sync::OnceLock;

use crate::{Attempt, Decision, Endpoint, Endpoints, Outcome, Plan, Planning, Policy, Request, Retry, Scoring};

#[cfg(target_endian = "big")]
compile_error!("the ABI's blocks are little-endian and are viewed as they lie in memory");

/// Maximum length of an error message; the proxy shows no more (ABI.md, section 5).
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// Largest alignment in the ABI.
const MAX_ALIGN: usize = 64;
/// Maximum length of a policy's name (ABI.md, section 3).
const MAX_NAME_BYTES: usize = 64;

/// A block of the ABI.
///
/// # Safety
///
/// The type is `repr(C)`, aligned to 8, a multiple of 8 bytes long, without padding, and valid for
/// every bit pattern.
pub unsafe trait Block: Copy + 'static {}

// SAFETY: `repr(C, align(8))`, integers, floats and byte arrays only. The assertions beside each
// type prove that its fields are contiguous and fill it, so there is no padding.
unsafe impl Block for Request {}
// SAFETY: as for `Request`.
unsafe impl Block for Endpoint {}
// SAFETY: as for `Request`.
unsafe impl Block for Attempt {}
// SAFETY: as for `Request`.
unsafe impl Block for Decision {}
// SAFETY: as for `Request`.
unsafe impl Block for Plan {}

/// A block that has grown since its first version, so an older proxy's is shorter.
pub(crate) trait Grown: Block {
    /// Size in the first version.
    const FIRST_SIZE: usize;

    /// The values of fields that an older proxy doesn't write.
    fn unknown() -> Self;
}

impl Grown for Request {
    const FIRST_SIZE: usize = 128;

    fn unknown() -> Self {
        Request::unknown()
    }
}

impl Grown for Attempt {
    const FIRST_SIZE: usize = 256;

    fn unknown() -> Self {
        Attempt::new(Outcome::Success)
    }
}

/// Size of a block in bytes, for its `size` field.
pub(crate) const fn size<T: Block>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "every block is at most 320 bytes")]
    let size = size_of::<T>() as u32;
    size
}

/// Returns the block at the start of `words`, or `None` if they are too short.
#[inline]
pub fn view<T: Block>(words: &[u64]) -> Option<&T> {
    let words = words.get(..size_of::<T>() / size_of::<u64>())?;
    // SAFETY: the words are as long as a `T`, aligned to 8 as a `T` is, and every bit pattern is a
    // `T` (`Block`).
    Some(unsafe { &*words.as_ptr().cast::<T>() })
}

/// Returns all blocks that fit into `words`.
#[inline]
pub fn views<T: Block>(words: &[u64]) -> &[T] {
    let count = words.len() / (size_of::<T>() / size_of::<u64>());
    // SAFETY: the words are at least as long as `count` blocks, aligned to 8 as a `T` is, and every
    // bit pattern is a `T` (`Block`).
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), count) }
}

/// Views blocks as words.
pub fn words<T: Block>(blocks: &[T]) -> &[u64] {
    // SAFETY: a `Block` has no padding, so all its bytes are initialised; it is aligned like a word
    // and its size is a multiple of a word's, so the words cover the same memory for the same
    // lifetime.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks) / size_of::<u64>()) }
}

/// Copies `text` into `field`, truncated, and returns the number of bytes copied.
pub(crate) fn fill(field: &mut [u8], text: &[u8]) -> u32 {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// Returns `true` if a policy may have this name: 1 to 64 of `a-z 0-9 -`, starting with a letter.
pub const fn is_name(name: &str) -> bool {
    let name = name.as_bytes();
    let mut at = 0;
    while at < name.len() {
        let later = name[at].is_ascii_digit() || name[at] == b'-';
        if !name[at].is_ascii_lowercase() && (at == 0 || !later) {
            return false;
        }
        at += 1;
    }
    at > 0 && at <= MAX_NAME_BYTES
}

/// Returns `true` if a policy may list these tags.
pub const fn are_tags(tags: &[&str]) -> bool {
    crate::tags::are_tags(tags)
}

/// `pointsman_describe` without its pointer. `kinds` is a JSON array. The arguments need no escapes.
pub fn describe(name: &str, version: &str, kinds: &str, tags: &[&str]) -> String {
    let mut text = format!("{{\"name\":\"{name}\",\"version\":\"{version}\",\"kinds\":{kinds}");
    if !tags.is_empty() {
        text += &format!(",\"tags\":[\"{}\"]", tags.join("\",\""));
    }
    text + "}"
}

/// `pointsman_alloc`: allocates memory for the lifetime of the instance. Returns null if memory is
/// exhausted or the alignment is not one of the ABI's.
pub fn alloc(size: usize, align: usize) -> *mut u8 {
    if align > MAX_ALIGN {
        return std::ptr::null_mut();
    }
    match std::alloc::Layout::from_size_align(size.max(1), align) {
        // SAFETY: the layout's size is not zero.
        Ok(layout) => unsafe { std::alloc::alloc_zeroed(layout) },
        Err(_) => std::ptr::null_mut(),
    }
}

/// Returns the bytes of a *slice* passed by the proxy.
///
/// # Safety
///
/// Unless `at` is null, it points to `len` bytes that are not written to during `'a`.
pub unsafe fn bytes<'a>(at: *const u8, len: usize) -> &'a [u8] {
    assert!(!at.is_null() && isize::try_from(len).is_ok(), "{len} bytes can't be at {at:?}");
    // SAFETY: not null and not too long; the caller upholds the rest.
    unsafe { std::slice::from_raw_parts(at, len) }
}

/// `pointsman_configure` without its pointers. Returns the error message, or `None` if the policy
/// is ready.
pub fn configure<P: Policy>(slot: &OnceLock<P>, config: &[u8]) -> Option<String> {
    let policy = match serde_json::from_slice(config).map_err(|error| error.to_string()).and_then(P::configure) {
        Ok(policy) => policy,
        Err(mut message) => {
            message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
            // An empty message would mean success.
            return Some(if message.is_empty() { "refused without a reason".to_owned() } else { message });
        }
    };
    slot.set(policy).err().map(|_| "already configured".to_owned())
}

/// `pointsman_score`.
///
/// # Safety
///
/// `block` points to a request block, `rows` to `count` rows of the block's `row_stride`, `scores`
/// to `count` `f64`. They don't overlap, nothing else writes to them during the call, and the
/// policy may write to the request and the scores.
pub unsafe fn score<P: Scoring>(slot: &OnceLock<P>, block: *mut u64, rows: *const u64, count: usize, scores: *mut f64) {
    let policy = configured(slot);
    // SAFETY: the caller passes a request block; the reference ends before the block is written.
    let request: Seen<'_, Request> = unsafe { grown_block(block) };
    let stride = request.row_stride as usize;
    let bytes = stride.checked_mul(count).filter(|bytes| isize::try_from(*bytes).is_ok());
    let Some(bytes) = bytes.filter(|_| aligned(rows) && aligned(scores)) else {
        panic!("{count} rows of {stride} bytes can't be at {rows:?}, nor their scores at {scores:?}");
    };
    // SAFETY: aligned and not null; the caller ensures that the rows exist and are not written to,
    // and their size is at most `isize::MAX`.
    let words = unsafe { std::slice::from_raw_parts(rows, bytes / size_of::<u64>()) };
    let Some(endpoints) = Endpoints::with_stride(words, stride, count) else {
        panic!("rows can't be {stride} bytes apart");
    };
    // SAFETY: aligned and not null; the caller ensures that the scores exist and don't overlap. A
    // score is shorter than a row, so their size is below `isize::MAX` too.
    let scores = unsafe { std::slice::from_raw_parts_mut(scores, count) };
    if !policy.refuses(&request, endpoints) {
        return policy.score(&request, endpoints, scores);
    }
    // For proxies of version 1.1, which ignore the flag.
    scores.fill(f64::NEG_INFINITY);
    let flags = request.flags | Request::REFUSE;
    // SAFETY: `grown_block` checked the pointer, the flags lie within the block, and the caller
    // allows writing to it.
    unsafe { block.byte_add(offset_of!(Request, flags)).cast::<u32>().write(flags) };
}

/// `pointsman_retry`.
///
/// # Safety
///
/// `request`, `attempt` and `decision` point to their blocks. They don't overlap, and nothing else
/// writes to them during the call.
pub unsafe fn retry<P: Retry>(slot: &OnceLock<P>, request: *const u64, attempt: *const u64, decision: *mut u64) {
    let policy = configured(slot);
    // SAFETY: the caller passes both blocks.
    let (request, attempt): (Seen<'_, Request>, Seen<'_, Attempt>) =
        unsafe { (grown_block(request), grown_block(attempt)) };
    // SAFETY: the caller passes the block; the reference ends before it is written.
    let size = unsafe { sized_block::<Decision>(decision) }.size();
    let answer = policy.retry(&request, &attempt).with_size(size);
    // SAFETY: `sized_block` checked the pointer, and the caller ensures that the block exists and
    // may be written to.
    unsafe { decision.cast::<Decision>().write(answer) };
}

/// `pointsman_plan`.
///
/// # Safety
///
/// `request` and `plan` point to their blocks, `row` to a row of the request block's `row_stride`.
/// They don't overlap, and nothing else writes to them during the call.
pub unsafe fn plan<P: Planning>(slot: &OnceLock<P>, request: *const u64, row: *const u64, plan: *mut u64) {
    let policy = configured(slot);
    // SAFETY: the caller passes a request block.
    let request: Seen<'_, Request> = unsafe { grown_block(request) };
    let stride = request.row_stride;
    assert!(aligned(row) && stride >= size::<Endpoint>(), "a row of {stride} bytes can't be at {row:?}");
    // SAFETY: aligned, not null, at least as long as an `Endpoint` as the caller ensures, and every
    // bit pattern is an `Endpoint` (`Block`).
    let endpoint = unsafe { &*row.cast::<Endpoint>() };
    // SAFETY: the caller passes a plan block; the reference ends before it is written.
    let proposed: Plan = *unsafe { sized_block(plan) };
    let answer = policy.plan(&request, endpoint, proposed).with_size(proposed.size);
    // SAFETY: `sized_block` checked the pointer, and the caller ensures that the block exists and
    // may be written to.
    unsafe { plan.cast::<Plan>().write(answer) };
}

/// Returns a block that begins with its size.
///
/// # Safety
///
/// If `at` is aligned and not null, it points to such a block, which is not written to during `'a`.
unsafe fn sized_block<'a, T: Block>(at: *const u64) -> &'a T {
    // SAFETY: the caller passes a block.
    unsafe { size_of_block(at, size_of::<T>()) };
    // SAFETY: the block is at least as long as a `T` and aligned to 8, and every bit pattern is a
    // `T` (`Block`).
    unsafe { &*at.cast::<T>() }
}

/// A block in the proxy's memory, or a copy of an older proxy's with all fields of this version.
enum Seen<'a, T> {
    Whole(&'a T),
    Completed(T),
}

impl<T> Deref for Seen<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match self {
            Seen::Whole(block) => block,
            Seen::Completed(block) => block,
        }
    }
}

/// Returns a block that begins with its size and may be an older proxy's.
///
/// # Safety
///
/// As for [`sized_block`].
unsafe fn grown_block<'a, T: Grown>(at: *const u64) -> Seen<'a, T> {
    // SAFETY: the caller passes a block.
    let told = unsafe { size_of_block(at, T::FIRST_SIZE) };
    if told >= size_of::<T>() {
        // SAFETY: as in `sized_block`.
        return Seen::Whole(unsafe { &*at.cast::<T>() });
    }
    let mut block = T::unknown();
    // SAFETY: the proxy's block has `told` bytes, fewer than a `T` has, `block` is no part of it,
    // and every bit pattern is a `T` (`Block`).
    unsafe { at.cast::<u8>().copy_to_nonoverlapping((&raw mut block).cast::<u8>(), told) };
    Seen::Completed(block)
}

/// Returns the size of a block, which is at least `least`.
///
/// # Safety
///
/// If `at` is aligned and not null, it points to a block.
unsafe fn size_of_block(at: *const u64, least: usize) -> usize {
    assert!(aligned(at), "a block can't be at {at:?}");
    // SAFETY: aligned and not null, so the caller ensures that at least the `size` field exists.
    let told = unsafe { *at.cast::<u32>() } as usize;
    assert!(told >= least, "a block of {told} bytes is shorter than its first version's");
    told
}

fn aligned<T>(at: *const T) -> bool {
    !at.is_null() && at.addr().is_multiple_of(align_of::<u64>())
}

fn configured<P>(slot: &OnceLock<P>) -> &P {
    match slot.get() {
        Some(policy) => policy,
        None => panic!("called before it was configured"),
    }
}

/// Logs panics to the proxy before they become a trap.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log(crate::Level::Error, &panic.to_string())));
}

/// The ABI's *slice*: `ptr << 32 | len`.
#[cfg(target_arch = "wasm32")]
pub fn slice(bytes: &'static [u8]) -> u64 {
    (bytes.as_ptr().expose_provenance() as u64) << 32 | bytes.len() as u64
}

/// The only import (ABI.md, section 1).
#[cfg(target_arch = "wasm32")]
pub(crate) fn host_log(level: i32, line: &str) {
    #[link(wasm_import_module = "pointsman")]
    unsafe extern "C" {
        fn log(level: i32, ptr: *const u8, len: usize);
    }
    // SAFETY: the proxy reads `len` bytes from `ptr` during the call and retains neither.
    unsafe { log(level, line.as_ptr(), line.len()) };
}

#[cfg(test)]
mod tests;
