//! What [`export_policy!`](crate::export_policy) expands to calls: the boundary between memory that
//! the proxy writes and the types of this crate. Not part of the public interface.
//!
//! Invariants:
//! - All of the crate's `unsafe` is in this file. Elsewhere a block is a reference or a slice of
//!   words.
//! - A call that breaks the ABI (a null or misaligned pointer, a block shorter than its first
//!   version's, a hot call before `configure`) panics, which is a trap in a module; it is never
//!   undefined behaviour as long as the memory that the proxy names is the module's, which
//!   WebAssembly itself ensures for all of it.
//! - A hot call allocates nothing.

#![expect(unsafe_code, reason = "the ABI passes pointers; each block says why it is sound")]

use std::mem::offset_of;
use std::sync::OnceLock;

use crate::{Attempt, Decision, Endpoint, Endpoints, Plan, Planning, Policy, Request, Retry, Scoring};

#[cfg(target_endian = "big")]
compile_error!("the ABI's blocks are little-endian and are viewed as they lie in memory");

/// What the proxy shows of an error message at most (ABI.md, section 5).
const MAX_ERROR_BYTES: usize = 4 * 1024;
/// The largest alignment that the ABI asks for.
const MAX_ALIGN: usize = 64;
/// The longest name of a policy (ABI.md, section 3).
const MAX_NAME_BYTES: usize = 64;

/// A block of the ABI.
///
/// # Safety
///
/// The type is `repr(C)`, aligned to 8, a multiple of 8 bytes long, without padding, and valid for
/// every bit pattern.
pub unsafe trait Block: Copy + 'static {}

// SAFETY: `repr(C, align(8))`, integers, floats and byte arrays only. The assertions beside each
// type place every field right behind the one before it and the last at the type's end, so there is
// no padding.
unsafe impl Block for Request {}
// SAFETY: as for `Request`.
unsafe impl Block for Endpoint {}
// SAFETY: as for `Request`.
unsafe impl Block for Attempt {}
// SAFETY: as for `Request`.
unsafe impl Block for Decision {}
// SAFETY: as for `Request`.
unsafe impl Block for Plan {}

/// Bytes of a block, as its `size` field tells it.
pub(crate) const fn size<T: Block>() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "every block is at most 256 bytes")]
    let size = size_of::<T>() as u32;
    size
}

/// The block at the start of `words`, if they are long enough.
#[inline]
pub fn view<T: Block>(words: &[u64]) -> Option<&T> {
    let words = words.get(..size_of::<T>() / size_of::<u64>())?;
    // SAFETY: the words are as long as a `T`, aligned to 8 as a `T` is, and every bit pattern is a
    // `T` (`Block`).
    Some(unsafe { &*words.as_ptr().cast::<T>() })
}

/// As many blocks as `words` hold.
#[inline]
pub fn views<T: Block>(words: &[u64]) -> &[T] {
    let count = words.len() / (size_of::<T>() / size_of::<u64>());
    // SAFETY: the words are at least as long as `count` blocks, aligned to 8 as a `T` is, and every
    // bit pattern is a `T` (`Block`).
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), count) }
}

/// The words of some blocks.
pub fn words<T: Block>(blocks: &[T]) -> &[u64] {
    // SAFETY: a `Block` has no padding, so all its bytes are initialised; its alignment is that of
    // a word and its size a multiple of it, so the words are the same memory. The lifetime is that
    // of `blocks`.
    unsafe { std::slice::from_raw_parts(blocks.as_ptr().cast(), size_of_val(blocks) / size_of::<u64>()) }
}

/// Copies what fits of `text` into `field` and gives its length.
pub(crate) fn fill(field: &mut [u8], text: &[u8]) -> u32 {
    let len = text.len().min(field.len());
    field[..len].copy_from_slice(&text[..len]);
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// May a policy have this name? One to 64 of `a-z 0-9 -`, beginning with a letter.
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

/// `pointsman_alloc`: memory that stays for as long as the instance does. Null when there is no
/// room, or for an alignment that the ABI doesn't have.
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

/// The bytes of a *slice* that the proxy passes.
///
/// # Safety
///
/// Unless `at` is null, it points at `len` bytes that stay as they are for `'a`.
pub unsafe fn bytes<'a>(at: *const u8, len: usize) -> &'a [u8] {
    assert!(!at.is_null() && isize::try_from(len).is_ok(), "{len} bytes can't be at {at:?}");
    // SAFETY: not null, not too long, and the caller's promise.
    unsafe { std::slice::from_raw_parts(at, len) }
}

/// `pointsman_configure` behind its pointers: the error message, or nothing when the policy is
/// ready.
pub fn configure<P: Policy>(slot: &OnceLock<P>, config: &[u8]) -> Option<String> {
    let policy = match serde_json::from_slice(config).map_err(|error| error.to_string()).and_then(P::configure) {
        Ok(policy) => policy,
        Err(mut message) => {
            message.truncate(message.floor_char_boundary(MAX_ERROR_BYTES));
            // No message at all would read as success.
            return Some(if message.is_empty() { "refused without a reason".to_owned() } else { message });
        }
    };
    slot.set(policy).err().map(|_| "already configured".to_owned())
}

/// `pointsman_score`.
///
/// # Safety
///
/// `block` points at a request block, `rows` at `count` rows of the block's `row_stride`, `scores`
/// at `count` `f64`; none overlaps another, all stay as they are until the call returns, and the
/// request and the scores are the policy's to write.
pub unsafe fn score<P: Scoring>(slot: &OnceLock<P>, block: *mut u64, rows: *const u64, count: usize, scores: *mut f64) {
    let policy = configured(slot);
    // SAFETY: the caller's first promise; the reference is gone before the block is written.
    let request: &Request = unsafe { sized_block(block) };
    let stride = request.row_stride as usize;
    let bytes = stride.checked_mul(count).filter(|bytes| isize::try_from(*bytes).is_ok());
    let Some(bytes) = bytes.filter(|_| aligned(rows) && aligned(scores)) else {
        panic!("{count} rows of {stride} bytes can't be at {rows:?}, nor their scores at {scores:?}");
    };
    // SAFETY: aligned and not null; the caller promises the rows and that nothing writes to them,
    // and their bytes are no more than `isize::MAX`.
    let words = unsafe { std::slice::from_raw_parts(rows, bytes / size_of::<u64>()) };
    let Some(endpoints) = Endpoints::with_stride(words, stride, count) else {
        panic!("rows can't be {stride} bytes apart");
    };
    // SAFETY: aligned and not null; the caller promises the scores and that nothing overlaps them.
    // A score is shorter than a row, so its bytes are within `isize::MAX` too.
    let scores = unsafe { std::slice::from_raw_parts_mut(scores, count) };
    if !policy.refuses(request, endpoints) {
        return policy.score(request, endpoints, scores);
    }
    // For proxies of version 1.1, which don't look at the flag.
    scores.fill(f64::NEG_INFINITY);
    let flags = request.flags | Request::REFUSE;
    // SAFETY: `sized_block` checked the pointer, the flags lie within the block, and the caller
    // promises that it is ours to write.
    unsafe { block.byte_add(offset_of!(Request, flags)).cast::<u32>().write(flags) };
}

/// `pointsman_retry`.
///
/// # Safety
///
/// `request`, `attempt` and `decision` each point at their block, none overlaps another, and all
/// stay as they are until the call returns.
pub unsafe fn retry<P: Retry>(slot: &OnceLock<P>, request: *const u64, attempt: *const u64, decision: *mut u64) {
    let policy = configured(slot);
    // SAFETY: the caller's promise for each block.
    let (request, attempt) = unsafe { (sized_block(request), sized_block(attempt)) };
    // SAFETY: the same; the reference is gone before the block is written.
    let size = unsafe { sized_block::<Decision>(decision) }.size();
    let answer = policy.retry(request, attempt).with_size(size);
    // SAFETY: `sized_block` checked the pointer, and the caller promises that the block is there
    // and ours to write.
    unsafe { decision.cast::<Decision>().write(answer) };
}

/// `pointsman_plan`.
///
/// # Safety
///
/// `request` and `plan` each point at their block, `row` at a row of the request block's
/// `row_stride`, none overlaps another, and all stay as they are until the call returns.
pub unsafe fn plan<P: Planning>(slot: &OnceLock<P>, request: *const u64, row: *const u64, plan: *mut u64) {
    let policy = configured(slot);
    // SAFETY: the caller's promise for the request block.
    let request: &Request = unsafe { sized_block(request) };
    let stride = request.row_stride;
    assert!(aligned(row) && stride >= size::<Endpoint>(), "a row of {stride} bytes can't be at {row:?}");
    // SAFETY: aligned and not null, and by the caller's promise at least as long as an `Endpoint`,
    // of which every bit pattern is one (`Block`).
    let endpoint = unsafe { &*row.cast::<Endpoint>() };
    // SAFETY: the caller's promise; the reference is gone before the block is written.
    let proposed: Plan = *unsafe { sized_block(plan) };
    let answer = policy.plan(request, endpoint, proposed).with_size(proposed.size);
    // SAFETY: `sized_block` checked the pointer, and the caller promises that the block is there
    // and ours to write.
    unsafe { plan.cast::<Plan>().write(answer) };
}

/// A block that begins with its size.
///
/// # Safety
///
/// If `at` is aligned and not null, it points at such a block, which stays as it is for `'a`.
unsafe fn sized_block<'a, T: Block>(at: *const u64) -> &'a T {
    assert!(aligned(at), "a block can't be at {at:?}");
    // SAFETY: aligned and not null, so by the caller's promise at least the `size` field is there.
    let told = unsafe { *at.cast::<u32>() };
    assert!(told >= size::<T>(), "a block of {told} bytes is shorter than its first version's");
    // SAFETY: the block is at least as long as a `T` and aligned to 8, and every bit pattern is a
    // `T` (`Block`).
    unsafe { &*at.cast::<T>() }
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

/// Sends panics to the proxy's log before they become a trap.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| crate::log(crate::Level::Error, &panic.to_string())));
}

/// The ABI's *slice*: `ptr << 32 | len`.
#[cfg(target_arch = "wasm32")]
pub fn slice(bytes: &'static [u8]) -> u64 {
    (bytes.as_ptr().expose_provenance() as u64) << 32 | bytes.len() as u64
}

/// The only import: see ABI.md, section 1.
#[cfg(target_arch = "wasm32")]
pub(crate) fn host_log(level: i32, line: &str) {
    #[link(wasm_import_module = "pointsman")]
    unsafe extern "C" {
        fn log(level: i32, ptr: *const u8, len: usize);
    }
    // SAFETY: the proxy reads `len` bytes from `ptr` during the call and keeps neither.
    unsafe { log(level, line.as_ptr(), line.len()) };
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
