//! The effect of JSON-RPC methods.
//!
//! Each chain lists its reads; unlisted methods count as writes, because sending an unknown write
//! twice is worse than not retrying an unknown read. The conf may list more reads.

use super::{CHAINS, Chain};
use crate::model::MethodClass;

/// An upstream's methods: its chain's, and the reads that its conf adds.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    chain: Chain,
    names: Vec<String>,
    prefixes: Vec<String>,
}

impl Methods {
    /// The methods of `chain`; `reads` are names, or prefixes of names that end with `*`.
    pub fn new(chain: Chain, reads: &[String]) -> Self {
        let (prefixes, names): (Vec<&String>, _) = reads.iter().partition(|name| name.ends_with('*'));
        Methods {
            chain,
            names: names.into_iter().cloned().collect(),
            prefixes: prefixes.into_iter().map(|prefix| prefix.trim_end_matches('*').to_owned()).collect(),
        }
    }

    /// The chain.
    pub fn chain(&self) -> Chain {
        self.chain
    }

    /// The class of `method`.
    pub fn classify(&self, method: &str) -> MethodClass {
        let chain = self.chain.0;
        if chain.reads.binary_search(&method).is_ok() || chain.vendor_reads.binary_search(&method).is_ok() {
            return MethodClass::Read;
        }
        if self.names.iter().any(|name| name == method) || self.prefixes.iter().any(|p| method.starts_with(p.as_str()))
        {
            return MethodClass::Read;
        }
        if chain.idempotent_write == Some(method) { MethodClass::IdempotentWrite } else { MethodClass::Write }
    }
}

/// The number of distinct method numbers. All unknown methods share one.
pub const METHOD_KINDS: usize = {
    let (mut kinds, mut chain) = (1, 0);
    while chain < CHAINS.len() {
        kinds += CHAINS[chain].reads.len() + CHAINS[chain].vendor_reads.len() + CHAINS[chain].writes.len();
        chain += 1;
    }
    kinds
};

/// The methods with a number of their own, in the order of the numbers.
fn lists() -> impl Iterator<Item = &'static [&'static str]> {
    const { &CHAINS }.iter().flat_map(|chain| [chain.reads, chain.vendor_reads, chain.writes])
}

/// A number below [`METHOD_KINDS`] for `method`. All unknown methods have the last one, so clients
/// can't create new ones.
pub fn method_kind(method: &str) -> usize {
    let mut before = 0;
    for list in lists() {
        if let Ok(position) = list.binary_search(&method) {
            return before + position;
        }
        before += list.len();
    }
    METHOD_KINDS - 1
}

/// The metric label of a method without a number of its own.
pub const OTHER: &str = "other";

/// `method` as a metric label: the name if it is known, else [`OTHER`].
pub fn method_label(method: &str) -> &'static str {
    lists().flatten().copied().nth(method_kind(method)).unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(lists().all(<[_]>::is_sorted));
        let mut all: Vec<&str> = lists().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len() + 1, METHOD_KINDS, "a method is listed twice");
    }

    #[test]
    fn unknown_methods_are_writes_without_a_label() {
        let methods = Methods::default();
        assert_eq!(methods.classify("eth_call"), MethodClass::Read);
        assert_eq!(methods.classify("eth_sendRawTransaction"), MethodClass::IdempotentWrite);
        for write in ["eth_sendTransaction", "eth_Call", "eth_newFilter", "getSlot", ""] {
            assert_eq!(methods.classify(write), MethodClass::Write, "{write}");
        }
        assert_eq!(method_label("eth_call"), "eth_call");
        assert_eq!(method_label("getSlot"), "getSlot");
        assert_eq!(method_label("eth_sendRawTransaction"), "eth_sendRawTransaction");
        assert_eq!(method_label("made_up_by_a_client"), "other");
        assert_eq!(method_kind("made_up_by_a_client"), METHOD_KINDS - 1);
    }

    #[test]
    fn vendors_reads_are_reads_and_nothing_that_may_change_something_is() {
        let methods = Methods::default();
        for read in [
            "erigon_getHeaderByNumber",
            "ots_searchTransactionsBefore",
            "bor_getAuthor",
            "zks_L1BatchNumber",
            "zks_getTransactionDetails",
            "arbtrace_replayBlockTransactions",
            "alchemy_getAssetTransfers",
            "eth_callMany",
            "eth_getUserOperationReceipt",
            "debug_storageRangeAt",
            "debug_traceCallMany",
            "linea_estimateGas",
            "txpool_contentFrom",
        ] {
            assert_eq!(methods.classify(read), MethodClass::Read, "{read}");
            assert_eq!(method_label(read), read);
        }
        for write in [
            "zks_sendRawTransactionWithDetailedOutput",
            "alchemy_sendPrivateTransaction",
            "alchemy_requestGasAndPaymasterAndData",
            "eth_sendUserOperation",
            "eth_sendBundle",
            "eth_sendPrivateTransaction",
            "eth_sendRawTransactionSync",
            "eth_sendRawTransactionConditional",
            "eth_submitWork",
            "eth_getWork",
            "eth_sign",
            "eth_newFilter",
            "eth_newBlockFilter",
            "eth_getFilterChanges",
            "eth_getFilterLogs",
            "eth_uninstallFilter",
            "eth_subscribe",
            "bor_getVoteOnHash",
            "bor_sendRawTransactionConditional",
            "debug_setHead",
            "debug_setGCPercent",
            "debug_standardTraceBlockToFile",
            "debug_traceBlockFromFile",
            "debug_chaindbCompact",
            "personal_unlockAccount",
            "admin_addPeer",
            "miner_start",
            "clique_propose",
            "engine_forkchoiceUpdatedV3",
            "anvil_setBalance",
            "hardhat_mine",
            "evm_mine",
            "pm_sponsorUserOperation",
            "parity_setMode",
            "erigon_",
            "zks_getSomethingNew",
        ] {
            assert_eq!(methods.classify(write), MethodClass::Write, "{write}");
        }
        let solana = Methods::new(Chain::named("solana").unwrap(), &[]);
        for (method, class) in [
            ("getAssetsByOwner", MethodClass::Read),
            ("searchAssets", MethodClass::Read),
            ("sendBundle", MethodClass::Write),
            ("sendSmartTransaction", MethodClass::Write),
        ] {
            assert_eq!(solana.classify(method), class, "{method}");
        }
    }

    /// Names suggest what methods do. This keeps a vendor's next write from being listed by
    /// mistake.
    #[test]
    fn no_listed_read_is_named_like_a_write() {
        let verbs = [
            "send",
            "submit",
            "sign",
            "set",
            "add",
            "remove",
            "new",
            "uninstall",
            "start",
            "stop",
            "import",
            "unlock",
            "lock",
            "propose",
            "sponsor",
            "request",
            "write",
            "delete",
            "mine",
            "vote",
            "subscribe",
        ];
        for method in CHAINS.iter().flat_map(|chain| [chain.reads, chain.vendor_reads]).flatten() {
            let name = method.split_once('_').map_or(*method, |(_, name)| name);
            assert!(verbs.iter().all(|verb| !name.starts_with(verb)), "{method}");
        }
    }

    #[test]
    fn each_chain_has_its_own_methods() {
        let solana = Methods::new(Chain::named("solana").unwrap(), &[]);
        assert_eq!(solana.classify("getSlot"), MethodClass::Read);
        for write in ["sendTransaction", "requestAirdrop", "eth_call", "eth_sendRawTransaction"] {
            assert_eq!(solana.classify(write), MethodClass::Write, "{write}");
        }
    }

    #[test]
    fn the_conf_may_add_reads() {
        let methods = Methods::new(Chain::default(), &["arb_*".into(), "custom_get".into()]);
        for (method, class) in [
            ("arb_getL1Confirmations", MethodClass::Read),
            ("custom_get", MethodClass::Read),
            ("custom_getMore", MethodClass::Write),
            ("arb", MethodClass::Write),
            ("eth_call", MethodClass::Read),
        ] {
            assert_eq!(methods.classify(method), class, "{method}");
        }
    }
}
