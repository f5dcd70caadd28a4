//! A request as rules and policies see it. Attempts change none of it except the time that policies
//! used.

use super::{HttpFacts, PolicyTime, Tick};

/// The effect of repeating a method, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MethodClass {
    /// Changes nothing.
    Read,
    /// A write whose repetition has no further effect.
    IdempotentWrite,
    /// May change something on every repetition.
    Write,
}

/// The methods of a request and their class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestShape {
    /// The method; of a batch, the members' common method or the empty string.
    pub method: String,
    /// The distinct methods of a batch that has several; otherwise empty.
    pub methods: Vec<String>,
    /// Members of the batch, if the body is an array.
    pub batch: Option<u32>,
    /// The class; of a batch, that of the member that may change most.
    pub class: MethodClass,
}

/// The facts about one request.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// Its methods.
    pub shape: RequestShape,
    /// The facts from its HTTP head.
    pub http: HttpFacts,
    /// Size of the body.
    pub body_bytes: usize,
    /// A hash of the client's address.
    pub client_key: u64,
    /// Random, drawn once per request.
    pub seed: u64,
    /// The deadline of the answer.
    pub deadline: Tick,
    /// The time that policies have used for it.
    pub policy_time: PolicyTime,
}

impl RequestShape {
    /// A single request.
    pub fn single(method: String, class: MethodClass) -> Self {
        RequestShape { method, methods: Vec::new(), batch: None, class }
    }

    /// Members of the batch; 1 for a single request.
    pub fn size(&self) -> u32 {
        self.batch.unwrap_or(1)
    }

    /// Whether the body is an array.
    pub fn is_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Whether it may change something: at least one member isn't a known read.
    pub fn is_write(&self) -> bool {
        self.class != MethodClass::Read
    }

    /// Whether an endpoint may get it although another one may have executed it.
    pub fn is_resendable(&self) -> bool {
        self.class != MethodClass::Write
    }

    /// Whether any of its methods satisfies `is_such`.
    pub fn has_method(&self, is_such: impl Fn(&str) -> bool) -> bool {
        if self.methods.is_empty() { is_such(&self.method) } else { self.methods.iter().any(|method| is_such(method)) }
    }
}

#[cfg(test)]
impl RequestFacts {
    /// The facts of a single request, for tests.
    pub(crate) fn of_single(method: &str, class: MethodClass) -> Self {
        RequestFacts {
            shape: RequestShape::single(method.to_owned(), class),
            http: HttpFacts::json_rpc(),
            body_bytes: 0,
            client_key: 0,
            seed: 0,
            deadline: Tick::START,
            policy_time: PolicyTime::default(),
        }
    }
}
