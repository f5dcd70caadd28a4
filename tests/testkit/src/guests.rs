//! Policies written in WAT: small modules of policy ABI 1.0, fully controlled by a test.
//!
//! Memory: `describe`'s JSON is at 1,024, the error message for a config at 3,072, and
//! `pointsman_alloc` allocates from 65,536 on. A test replaces the bodies of functions.

/// Address of `describe`'s JSON.
const DESCRIBE_AT: usize = 1_024;
/// Address of the error message for a config.
const REFUSAL_AT: usize = 3_072;

/// A guest.
#[derive(Clone, Debug)]
pub struct Guest {
    name: String,
    version: String,
    abi: u32,
    describe: Option<String>,
    score: Option<String>,
    retry: Option<String>,
    configure: String,
    refusal: String,
    extra: String,
}

impl Guest {
    /// A guest of this name and version that is not a policy yet: add a `score`, a `retry` or both.
    pub fn new(name: &str, version: &str) -> Guest {
        Guest {
            name: name.to_owned(),
            version: version.to_owned(),
            abi: 1 << 16,
            describe: None,
            score: None,
            retry: None,
            configure: "i64.const 0".to_owned(),
            refusal: String::new(),
            extra: String::new(),
        }
    }

    /// A scoring policy that gives the endpoint at `position` the best score.
    pub fn prefers(name: &str, version: &str, position: u32) -> Guest {
        let is_it = format!("(f64.convert_i32_u (i32.eq (i32.load (local.get $row)) (i32.const {position})))");
        Guest::new(name, version).score_each(&is_it)
    }

    /// A scoring policy that prefers endpoints in their order or in reverse order.
    pub fn in_order(name: &str, version: &str, last_first: bool) -> Guest {
        let index = "(f64.convert_i32_u (i32.load (local.get $row)))";
        let score = if last_first { index.to_owned() } else { format!("(f64.neg {index})") };
        Guest::new(name, version).score_each(&score)
    }

    /// The score of each row: an expression of type f64 that may use `$row` (the row's address),
    /// `$request` and `$i`.
    pub fn score_each(self, expression: &str) -> Guest {
        let body = format!(
            "(block $done (loop $next
               (br_if $done (i32.ge_u (local.get $i) (local.get $count)))
               (local.set $row (i32.add (local.get $rows)
                 (i32.mul (local.get $i) (i32.load offset=4 (local.get $request)))))
               (f64.store (i32.add (local.get $scores) (i32.shl (local.get $i) (i32.const 3))) {expression})
               (local.set $i (i32.add (local.get $i) (i32.const 1)))
               (br $next)))"
        );
        self.score(&body)
    }

    /// The body of `pointsman_score`. Parameters: `$request $rows $count $scores`; locals:
    /// `$i $row`.
    pub fn score(self, body: &str) -> Guest {
        Guest { score: Some(body.to_owned()), ..self }
    }

    /// The body of `pointsman_retry`. Parameters: `$request $attempt $decision`; locals: `$i $row`.
    pub fn retry(self, body: &str) -> Guest {
        Guest { retry: Some(body.to_owned()), ..self }
    }

    /// A retry policy that always asks for another attempt, with a penalty of 1 ms.
    pub fn always_retries(self) -> Guest {
        self.retry(
            "(i32.store offset=4 (local.get $decision) (i32.const 1))
             (f32.store offset=20 (local.get $decision) (f32.const 1))",
        )
    }

    /// The body of `pointsman_configure`, of type i64. Parameters: `$ptr $len`.
    pub fn configure(self, body: &str) -> Guest {
        Guest { configure: body.to_owned(), ..self }
    }

    /// Refuses any config with this message.
    pub fn refuses_config(self, text: &str) -> Guest {
        let slice = format!("i64.const {}", (REFUSAL_AT as u64) << 32 | text.len() as u64);
        Guest { configure: slice, refusal: text.to_owned(), ..self }
    }

    /// Declares this ABI version.
    pub fn abi(self, major: u32, minor: u32) -> Guest {
        Guest { abi: major << 16 | minor, ..self }
    }

    /// Replaces the JSON of `describe`.
    pub fn describe(self, json: &str) -> Guest {
        Guest { describe: Some(json.to_owned()), ..self }
    }

    /// Adds fields to the module: globals, functions and exports, but not imports.
    pub fn extra(self, fields: &str) -> Guest {
        Guest { extra: fields.to_owned(), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file's name in a plugin folder, without `.wasm`.
    pub fn file(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// The module's text.
    pub fn wat(&self) -> String {
        let describe = self.describe.clone().unwrap_or_else(|| self.description());
        let slice = (DESCRIBE_AT as u64) << 32 | describe.len() as u64;
        let hot = |name: &str, parameters: &str, body: &Option<String>| match body {
            None => String::new(),
            Some(body) => {
                format!("(func (export \"{name}\") (param {parameters}) (local $i i32) (local $row i32) {body})")
            }
        };
        // Each named parameter needs its own `param`.
        let named = |names: &[&str]| names.iter().map(|n| format!("${n} i32")).collect::<Vec<_>>().join(") (param ");
        let score = hot("pointsman_score", &named(&["request", "rows", "count", "scores"]), &self.score);
        let retry = hot("pointsman_retry", &named(&["request", "attempt", "decision"]), &self.retry);
        format!(
            r#"(module
  (memory (export "memory") 2)
  (global $heap (mut i32) (i32.const 65536))
  (data (i32.const {DESCRIBE_AT}) "{describe_text}")
  (data (i32.const {REFUSAL_AT}) "{refusal_text}")
  (func (export "pointsman_abi_version") (result i32) (i32.const {abi}))
  (func (export "pointsman_describe") (result i64) (i64.const {slice}))
  (func (export "pointsman_alloc") (param $size i32) (param $align i32) (result i32)
    (local $at i32) (local $pages i32)
    (local.set $at (i32.and
      (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
      (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (local.set $pages (i32.sub
      (i32.shr_u (i32.add (global.get $heap) (i32.const 65535)) (i32.const 16)) (memory.size)))
    (if (i32.gt_s (local.get $pages) (i32.const 0)) (then
      (if (i32.eq (memory.grow (local.get $pages)) (i32.const -1)) (then (return (i32.const 0))))))
    (local.get $at))
  (func (export "pointsman_configure") (param $ptr i32) (param $len i32) (result i64) {configure})
  {score}
  {retry}
  {extra})"#,
            describe_text = escape(&describe),
            refusal_text = escape(&self.refusal),
            abi = self.abi,
            configure = self.configure,
            extra = self.extra,
        )
    }

    /// The module.
    #[track_caller]
    pub fn wasm(&self) -> Vec<u8> {
        wat::parse_str(self.wat()).unwrap_or_else(|error| panic!("{error}\n{}", self.wat()))
    }

    fn description(&self) -> String {
        let kinds = [("scoring", &self.score), ("retry", &self.retry)];
        let kinds: Vec<&str> = kinds.into_iter().filter(|(_, body)| body.is_some()).map(|(kind, _)| kind).collect();
        serde_json::json!({ "name": self.name, "version": self.version, "kinds": kinds }).to_string()
    }
}

/// Text as a string of WAT.
fn escape(text: &str) -> String {
    text.bytes().map(|byte| format!("\\{byte:02x}")).collect()
}
