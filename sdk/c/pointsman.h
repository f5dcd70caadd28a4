/* Pointsman policies in C: the blocks of sdk/ABI.md (1.2), section 4, and what a module needs beside them.
 *
 * Include it in the one source file of a policy, which defines the functions that are declared at the end, and
 * build it as `scripts/build-sdk-examples` does. There is no C library: a policy computes, and that is all.
 */
#ifndef POINTSMAN_H
#define POINTSMAN_H

#include <stddef.h>
#include <stdint.h>

#define POINTSMAN_ABI_VERSION 0x00010002 /* major << 16 | minor */

#define POINTSMAN_EXPORT(name) __attribute__((export_name(name)))

/* Bits of pointsman_request.flags. */
enum {
    POINTSMAN_WRITE = 1 << 0,
    POINTSMAN_BATCH = 1 << 1,
    POINTSMAN_IDEMPOTENT = 1 << 2,
    POINTSMAN_PRIOR_SENT = 1 << 3,
    POINTSMAN_RESENDABLE = 1 << 4,
};
#define POINTSMAN_REFUSE 0x80000000u /* set by pointsman_score: no endpoint is to get the request */

/* Values of pointsman_request.protocol and .http_method. */
enum { POINTSMAN_JSON_RPC = 1, POINTSMAN_HTTP = 2, POINTSMAN_GRPC = 3, POINTSMAN_WEBSOCKET = 4 };
enum {
    POINTSMAN_OTHER_METHOD = 0,
    POINTSMAN_GET = 1,
    POINTSMAN_HEAD = 2,
    POINTSMAN_POST = 3,
    POINTSMAN_PUT = 4,
    POINTSMAN_DELETE = 5,
    POINTSMAN_CONNECT = 6,
    POINTSMAN_OPTIONS = 7,
    POINTSMAN_TRACE = 8,
    POINTSMAN_PATCH = 9,
};

/* Bits of pointsman_row.flags; set in a panic only. */
enum { POINTSMAN_COOLING = 1 << 0, POINTSMAN_UNHEALTHY = 1 << 1, POINTSMAN_BANNED = 1 << 2 };

/* Bits of pointsman_attempt.flags. */
enum {
    POINTSMAN_BYTES_SENT = 1 << 0,
    POINTSMAN_HAS_RPC_CODE = 1 << 1,
    POINTSMAN_MAY_RETRY = 1 << 2,
    POINTSMAN_MEMBER = 1 << 3,
};

/* Values of pointsman_attempt.outcome. */
enum {
    POINTSMAN_SUCCESS = 0,
    POINTSMAN_CONNECT_FAILED = 1,
    POINTSMAN_TIMEOUT = 2,
    POINTSMAN_RESET = 3,
    POINTSMAN_HTTP_ERROR = 4,
    POINTSMAN_RPC_ERROR = 5,
    POINTSMAN_BAD_RESPONSE = 6,
};
#define POINTSMAN_NO_RETRY_AFTER UINT32_MAX
#define POINTSMAN_NO_GRPC_STATUS (-1)

/* Values of pointsman_decision.action and .cooldown, and bits of its flags. */
enum { POINTSMAN_RETURN = 0, POINTSMAN_RETRY = 1 };
enum { POINTSMAN_COOLDOWN_NONE = 0, POINTSMAN_COOLDOWN_BACKOFF = 1, POINTSMAN_COOLDOWN_FIXED = 2 };
enum {
    POINTSMAN_AS_SUCCESS = 1 << 0,
    POINTSMAN_PREFER_HISTORY = 1 << 1,
    POINTSMAN_LARGER_RANGE = 1 << 2,
    POINTSMAN_LANDED = 1 << 3,
};

/* Levels of pointsman_log. */
enum { POINTSMAN_ERROR = 1, POINTSMAN_WARN = 2, POINTSMAN_INFO = 3, POINTSMAN_DEBUG = 4 };

typedef struct {
    uint32_t size, row_stride;
    uint64_t unix_ms, seed, client_key;
    uint32_t flags, batch_size, attempt, max_attempts, body_bytes, deadline_left_ms, method_len, chain;
    uint8_t method[64]; /* method_len bytes of it, without a NUL */
    /* From here on only if size says so: a proxy of version 1.1 has 128 bytes. */
    uint32_t protocol, http_method;
    uint64_t path_hash, host_hash; /* see pointsman_hash */
    uint32_t path_len, path_bytes;
    uint64_t reserved[8];
    uint8_t path[96]; /* path_len bytes of it, without a NUL */
} pointsman_request;

/* Floats that are not known are NaN: whatever is computed of NaN is NaN. See pointsman_known. */
typedef struct {
    uint32_t index, flags, weight, in_flight;
    uint16_t consecutive_failures, cooldown_attempts;
    float latency_ms;
    uint64_t tags;
    float latency_peak_ms, latency_p99_ms, penalty_ms, success_rate;
    float limiter_headroom, head_lag_blocks, price, idle_ms;
} pointsman_row;

typedef struct {
    uint32_t size, endpoint, outcome, flags;
    int64_t rpc_code;
    uint32_t http_status, retry_after_ms;
    float latency_ms;
    uint32_t candidates_left, consecutive_failures, cooldown_attempts;
    float timeout_ms;
    uint32_t message_len;
    uint64_t reserved;
    uint8_t message[192];
    /* From here on only if size says so: a proxy of version 1.1 has 256 bytes. */
    int32_t grpc_status;
    uint32_t reserved_2;
} pointsman_attempt;

typedef struct {
    uint32_t size, action, delay_ms, cooldown, cooldown_ms;
    float penalty_ms;
    uint32_t flags, method_ban_ms;
} pointsman_decision;

typedef struct {
    uint32_t size, max_attempts;
    float timeout_ms, hedge_delay_ms, latency_p95_ms, method_p75_ms;
} pointsman_plan_block;

_Static_assert(sizeof(pointsman_request) == 320, "ABI.md, section 4");
_Static_assert(sizeof(pointsman_row) == 64, "ABI.md, section 4");
_Static_assert(sizeof(pointsman_attempt) == 264, "ABI.md, section 4");
_Static_assert(sizeof(pointsman_decision) == 32, "ABI.md, section 4");
_Static_assert(sizeof(pointsman_plan_block) == 24, "ABI.md, section 4");

/* The only import. Costs 500 units of fuel and one per byte, of which 1,024 are read. */
__attribute__((import_module("pointsman"), import_name("log"))) void pointsman_log(
    int32_t level, const char *text, uint32_t len);

/* Row `i`; rows may be longer in a later version. */
static inline const pointsman_row *pointsman_row_at(
    const pointsman_request *request, const void *rows, uint32_t i)
{
    return (const pointsman_row *)((const uint8_t *)rows + (size_t)i * request->row_stride);
}

/* `value`, or `otherwise` where it is not known. */
static inline float pointsman_known(float value, float otherwise)
{
    return value == value ? value : otherwise;
}

/* The hash of a path, or of a host in lower case. */
static inline uint64_t pointsman_hash(const char *text, size_t len)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3u;
    }
    return hash;
}

/* A text for describe and for a refused config: it must stay, so use a string literal. */
static inline uint64_t pointsman_slice(const char *text, size_t len)
{
    return (uint64_t)(uintptr_t)text << 32 | len;
}
#define POINTSMAN_TEXT(literal) pointsman_slice(literal, sizeof(literal) - 1)

POINTSMAN_EXPORT("pointsman_abi_version") uint32_t pointsman_abi_version(void)
{
    return POINTSMAN_ABI_VERSION;
}

/* Memory that stays for as long as the instance does; 0 when there is no room. */
POINTSMAN_EXPORT("pointsman_alloc") uintptr_t pointsman_alloc(uint32_t size, uint32_t align)
{
    extern uint8_t __heap_base; /* the linker's: memory from here on is nobody's */
    static uintptr_t next;
    uintptr_t at = ((next ? next : (uintptr_t)&__heap_base) + align - 1) & ~(uintptr_t)(align - 1);
    uint64_t end = (uint64_t)at + size, room = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > room && __builtin_wasm_memory_grow(0, (size_t)((end - room + 0xffff) >> 16)) == (size_t)-1) {
        return 0;
    }
    next = (uintptr_t)end;
    return at;
}

/* To be defined by the policy; the last three as far as its kinds need them. */
POINTSMAN_EXPORT("pointsman_describe") uint64_t pointsman_describe(void);
POINTSMAN_EXPORT("pointsman_configure") uint64_t pointsman_configure(const uint8_t *json, uint32_t len);
void pointsman_score(pointsman_request *request, const void *rows, uint32_t count, double *scores);
void pointsman_retry(
    const pointsman_request *request, const pointsman_attempt *attempt, pointsman_decision *decision);
void pointsman_plan(
    const pointsman_request *request, const pointsman_row *row, pointsman_plan_block *plan);

#endif
