//! Chains: their methods, and the heads and identities of their nodes.
//!
//! Each chain is one file, which defines a [`Spec`] that [`CHAINS`] lists. Invariant: no other code
//! of the proxy refers to a chain by name, except in messages.

mod ethereum;
mod methods;
mod solana;

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

pub use methods::{METHOD_KINDS, Methods, OTHER, method_kind, method_label};

use crate::model::ProbeFailure;

const CHAINS: [Spec; 2] = [ethereum::SPEC, solana::SPEC];

/// The head that a probe returned, if its method returns one.
type Reading = Result<Option<u64>, ProbeFailure>;

/// The definition of a chain.
struct Spec {
    /// The name in the conf.
    name: &'static str,
    /// The code in the request block of the ABI.
    code: u32,
    /// The reads of its specification, sorted.
    reads: &'static [&'static str],
    /// Reads that clients and providers add, sorted. Only methods that by their documentation
    /// change nothing and work at any endpoint are listed.
    vendor_reads: &'static [&'static str],
    /// Writes with a metric label of their own, sorted.
    writes: &'static [&'static str],
    /// The write whose repetition has no further effect.
    idempotent_write: Option<&'static str>,
    /// Methods whose result is a node's head. The first one is the default.
    heads: &'static [&'static str],
    /// Parses the result of a probe, if the method is known: the head, if it is one.
    read_probe: fn(&str, &Value) -> Option<Reading>,
    /// The method whose result is the chain's identity.
    id_method: &'static str,
    /// Parses that result.
    read_id: fn(&Value) -> Option<ChainId>,
    /// The form of an identity in the conf.
    id_form: IdForm,
    /// A description of that form, for messages.
    id_words: &'static str,
    /// The answer to a request, by its bytes and id, from an endpoint that has carried it out
    /// before.
    known_answer: fn(&[u8], &[u8]) -> Option<Bytes>,
}

/// The form of a chain's identity in the conf.
#[derive(Clone, Copy)]
pub enum IdForm {
    /// An integer from 1 on.
    Number,
    /// A string that this function accepts.
    Text(fn(&str) -> bool),
}

/// The identity of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChainId {
    /// An integer from 1 on: `chain_id = 1`.
    Number(u64),
    /// A string, such as the hash of the first block.
    Text(String),
}

/// A chain that the proxy knows.
#[derive(Clone, Copy)]
pub struct Chain(&'static Spec);

impl Chain {
    /// All known chains.
    pub fn all() -> impl Iterator<Item = Chain> {
        const { &CHAINS }.iter().map(Chain)
    }

    /// The chain with this name.
    pub fn named(name: &str) -> Option<Chain> {
        Chain::all().find(|chain| chain.name() == name)
    }

    /// The name in the conf.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// The code in the ABI.
    pub fn code(self) -> u32 {
        self.0.code
    }

    /// The method whose result is a node's head.
    pub fn head_method(self) -> &'static str {
        self.0.heads.first().copied().unwrap_or_default()
    }

    /// The head methods of all chains.
    pub fn head_methods() -> Vec<&'static str> {
        Chain::all().flat_map(|chain| chain.0.heads).copied().collect()
    }

    /// Parses the result of a probe with `method`: the head, if it is one. Results of methods that
    /// no chain lists are ignored.
    ///
    /// # Errors
    /// When the endpoint reports itself unfit, or the result isn't valid for this method.
    pub fn read_probe(method: &str, result: &Value) -> Reading {
        Chain::all().find_map(|chain| (chain.0.read_probe)(method, result)).unwrap_or(Ok(None))
    }

    /// The method whose result is the chain's identity.
    pub fn id_method(self) -> &'static str {
        self.0.id_method
    }

    /// Parses the result of that method.
    pub fn read_id(self, result: &Value) -> Option<ChainId> {
        (self.0.read_id)(result)
    }

    /// The form of the identity in the conf.
    pub fn id_form(self) -> IdForm {
        self.0.id_form
    }

    /// A description of that form.
    pub fn id_words(self) -> &'static str {
        self.0.id_words
    }

    /// The answer that an endpoint gave, or would have given, to a write that it has carried out
    /// before. `None` for any other request.
    pub fn known_answer(self, request: &[u8], id: &[u8]) -> Option<Bytes> {
        (self.0.known_answer)(request, id)
    }
}

impl Default for Chain {
    fn default() -> Self {
        const ETHEREUM: &Spec = &ethereum::SPEC;
        Chain(ETHEREUM)
    }
}

impl PartialEq for Chain {
    fn eq(&self, other: &Self) -> bool {
        self.code() == other.code()
    }
}

impl Eq for Chain {}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const NO_NUMBER: ProbeFailure = ProbeFailure::new("its head is no number");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_codes_are_different() {
        for (number, chain) in Chain::all().enumerate() {
            assert_eq!(Chain::named(chain.name()), Some(chain));
            assert_eq!(Chain::all().filter(|other| *other == chain).count(), 1);
            assert_eq!(chain.code() as usize, number, "the ABI's codes are published");
            assert!(Chain::head_methods().contains(&chain.head_method()));
        }
        assert_eq!(Chain::named("Ethereum"), None);
        assert_eq!(Chain::default().name(), "ethereum");
    }
}
