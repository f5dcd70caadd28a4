//! [`export_policy!`]: exports a type as a policy module.
//!
//! The code is in functions in `export`; the macro only names the exports. It checks the policy's
//! name and traits on every target, so a native `cargo test` finds the errors of the module's
//! build.

/// Exports a [`Policy`](crate::Policy) from a `cdylib`, with the package's name and version.
///
/// ```
/// # use pointsman_sdk::*;
/// # struct Mine;
/// # impl Policy for Mine {
/// #     type Config = NoConfig;
/// #     fn configure(_: NoConfig) -> Result<Self, String> { Ok(Mine) }
/// # }
/// # impl Scoring for Mine {
/// #     fn score(&self, _: &Request, _: Endpoints<'_>, _: &mut [f64]) {}
/// # }
/// # impl Retry for Mine {
/// #     fn retry(&self, _: &Request, _: &Attempt) -> Decision { Decision::return_() }
/// # }
/// pointsman_sdk::export_policy!(Mine: scoring, retry);
/// ```
///
/// The policy's kinds follow the colon: `scoring`, `retry` or both. The type must implement the
/// traits of these names. `plan` may follow `retry` for a type that implements
/// [`Planning`](crate::Planning). The tags are those of [`Policy::TAGS`](crate::Policy::TAGS). The
/// conf refers to the policy by the package's name, which may
/// contain `a-z 0-9 -` only. Exports exist on `wasm32` only. A crate can have one policy.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty: scoring $(,)?) => {
        $crate::export_policy!(@policy $policy, "\"scoring\"");
        $crate::export_policy!(@scoring $policy);
    };
    ($policy:ty: retry $(,)?) => {
        $crate::export_policy!(@policy $policy, "\"retry\"");
        $crate::export_policy!(@retry $policy);
    };
    ($policy:ty: scoring, retry $(,)?) => {
        $crate::export_policy!(@policy $policy, "\"scoring\",\"retry\"");
        $crate::export_policy!(@scoring $policy);
        $crate::export_policy!(@retry $policy);
    };
    ($policy:ty: retry, plan $(,)?) => {
        $crate::export_policy!($policy: retry);
        $crate::export_policy!(@plan $policy);
    };
    ($policy:ty: scoring, retry, plan $(,)?) => {
        $crate::export_policy!($policy: scoring, retry);
        $crate::export_policy!(@plan $policy);
    };

    (@policy $policy:ty, $kinds:literal) => {
        const _: () = assert!(
            $crate::export::is_name(env!("CARGO_PKG_NAME")),
            "a policy's name, which is its package's, is 1 to 64 of a-z 0-9 - and begins with a letter"
        );
        const _: () = assert!(
            $crate::export::are_tags(<$policy as $crate::Policy>::TAGS),
            "TAGS has at most 64 different tags of 1 to 64 printable ASCII characters without quotes and backslashes"
        );

        #[cfg(target_arch = "wasm32")]
        static POINTSMAN_POLICY: ::std::sync::OnceLock<$policy> = ::std::sync::OnceLock::new();

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the names and pointers of the ABI")]
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn pointsman_abi_version() -> u32 {
                $crate::ABI_VERSION
            }

            #[unsafe(no_mangle)]
            extern "C" fn pointsman_alloc(size: usize, align: usize) -> *mut u8 {
                $crate::export::alloc(size, align)
            }

            #[unsafe(no_mangle)]
            extern "C" fn pointsman_describe() -> u64 {
                let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
                let tags = <$policy as $crate::Policy>::TAGS;
                let text = $crate::export::describe(name, version, concat!("[", $kinds, "]"), tags);
                // Called once per load.
                $crate::export::slice(text.leak().as_bytes())
            }

            #[unsafe(no_mangle)]
            unsafe extern "C" fn pointsman_configure(config: *const u8, len: usize) -> u64 {
                $crate::export::log_panics();
                // SAFETY: the proxy wrote `len` bytes of JSON there and doesn't change them during
                // the call.
                let config = unsafe { $crate::export::bytes(config, len) };
                match $crate::export::configure(&POINTSMAN_POLICY, config) {
                    None => 0,
                    // The message must outlive the call, and a refused instance is dropped.
                    Some(message) => $crate::export::slice(message.leak().as_bytes()),
                }
            }
        };
    };

    (@scoring $policy:ty) => {
        const _: () = {
            const fn implements_scoring<P: $crate::Scoring>() {}
            implements_scoring::<$policy>();
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the names and pointers of the ABI")]
        const _: () = {
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pointsman_score(
                request: *mut u64,
                rows: *const u64,
                count: usize,
                scores: *mut f64,
            ) {
                // SAFETY: the proxy passes the blocks that ABI.md specifies, in memory from
                // `pointsman_alloc`, and doesn't write to it during the call.
                unsafe { $crate::export::score(&POINTSMAN_POLICY, request, rows, count, scores) }
            }
        };
    };

    (@retry $policy:ty) => {
        const _: () = {
            const fn implements_retry<P: $crate::Retry>() {}
            implements_retry::<$policy>();
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the names and pointers of the ABI")]
        const _: () = {
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pointsman_retry(request: *const u64, attempt: *const u64, decision: *mut u64) {
                // SAFETY: as for `pointsman_score`.
                unsafe { $crate::export::retry(&POINTSMAN_POLICY, request, attempt, decision) }
            }
        };
    };

    (@plan $policy:ty) => {
        const _: () = {
            const fn implements_planning<P: $crate::Planning>() {}
            implements_planning::<$policy>();
        };

        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "the names and pointers of the ABI")]
        const _: () = {
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pointsman_plan(request: *const u64, row: *const u64, plan: *mut u64) {
                // SAFETY: as for `pointsman_score`.
                unsafe { $crate::export::plan(&POINTSMAN_POLICY, request, row, plan) }
            }
        };
    };
}
