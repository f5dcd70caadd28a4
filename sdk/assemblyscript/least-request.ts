// A policy in AssemblyScript: fewest requests under way wins, in proportion to weight; less by each block that it lags.
// scripts/build-sdk-examples builds it. `--use abort=` spares the module an import that the proxy doesn't have.
// Offsets are those of sdk/ABI.md, section 4.

const DESCRIBE = '{"name":"least-request-as","version":"1.0.0","kinds":["scoring"]}';
const REFUSAL = "this policy has no config";

/** `ptr << 32 | len` of a text that stays. */
function slice(text: ArrayBuffer): u64 {
  return ((changetype<usize>(text) as u64) << 32) | (text.byteLength as u64);
}

export function pointsman_abi_version(): u32 {
  return (1 << 16) | 2;
}

export function pointsman_describe(): u64 {
  return slice(String.UTF8.encode(DESCRIBE));
}

export function pointsman_alloc(size: u32, align: u32): usize {
  const at = heap.alloc(size + align);
  return (at + align - 1) & ~(align - 1);
}

export function pointsman_configure(json: usize, len: u32): u64 {
  return len == 2 ? 0 : slice(String.UTF8.encode(REFUSAL));
}

export function pointsman_score(request: usize, rows: usize, count: u32, scores: usize): void {
  const stride = load<u32>(request, 4);
  for (let i: u32 = 0; i < count; i++) {
    const row = rows + i * stride;
    const weight = load<u32>(row, 8) as f64;
    const inFlight = load<u32>(row, 12) as f64;
    // An unknown lag is NaN, and must not make the score NaN.
    const lag = load<f32>(row, 52) as f64;
    store<f64>(scores + (i << 3), weight / (inFlight + 1) - (isNaN(lag) ? 0 : lag));
  }
}
