//! Which JSON-RPC methods change something.
//!
//! Reads are listed, by chain; whatever is not listed counts as a write, because sending an unknown
//! write twice is worse than not retrying an unknown read. The conf may list more. Sources: the
//! Ethereum execution-apis specification and the trace, debug and txpool namespaces as Geth, Erigon
//! and Nethermind document them; Solana's RPC documentation; those of `vendor_reads`.

use super::vendor_reads::{ETHEREUM_VENDOR_READS, SOLANA_VENDOR_READS};

/// The effect of a repetition, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MethodClass {
    /// Changes nothing.
    Read,
    /// A write whose repetition has no further effect.
    IdempotentWrite,
    /// May change something each time it arrives.
    Write,
}

/// What an upstream's endpoints speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    /// Ethereum and what is like it.
    #[default]
    Ethereum,
    /// Solana.
    Solana,
}

impl Chain {
    /// The method that tells how far a node has come.
    pub const fn head_method(self) -> &'static str {
        match self {
            Chain::Ethereum => "eth_blockNumber",
            Chain::Solana => "getSlot",
        }
    }

    /// Whether `method`'s answer is a node's head, on any chain.
    pub fn tells_head(method: &str) -> bool {
        matches!(method, "eth_blockNumber" | "getSlot" | "getBlockHeight")
    }
}

/// The one write that is idempotent: a signed transaction is known by its hash. Solana's `sendTransaction` isn't: a
/// transaction whose block hash is renewed on the way is another one.
pub const SEND_RAW_TRANSACTION: &str = "eth_sendRawTransaction";

/// Sorted, for binary searches.
const ETHEREUM_READS: &[&str] = &[
    "debug_getBadBlocks",
    "debug_getRawBlock",
    "debug_getRawHeader",
    "debug_getRawReceipts",
    "debug_getRawTransaction",
    "debug_traceBlockByHash",
    "debug_traceBlockByNumber",
    "debug_traceCall",
    "debug_traceTransaction",
    "eth_accounts",
    "eth_blobBaseFee",
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_coinbase",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getCode",
    "eth_getLogs",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleCountByBlockNumber",
    "eth_maxPriorityFeePerGas",
    "eth_protocolVersion",
    "eth_simulateV1",
    "eth_syncing",
    "net_listening",
    "net_peerCount",
    "net_version",
    "trace_block",
    "trace_call",
    "trace_callMany",
    "trace_filter",
    "trace_get",
    "trace_rawTransaction",
    "trace_replayBlockTransactions",
    "trace_replayTransaction",
    "trace_transaction",
    "txpool_content",
    "txpool_inspect",
    "txpool_status",
    "web3_clientVersion",
    "web3_sha3",
];

/// Sorted, too. `sendTransaction` and `requestAirdrop` are the writes.
const SOLANA_READS: &[&str] = &[
    "getAccountInfo",
    "getBalance",
    "getBlock",
    "getBlockCommitment",
    "getBlockHeight",
    "getBlockProduction",
    "getBlockTime",
    "getBlocks",
    "getBlocksWithLimit",
    "getClusterNodes",
    "getEpochInfo",
    "getEpochSchedule",
    "getFeeForMessage",
    "getFirstAvailableBlock",
    "getGenesisHash",
    "getHealth",
    "getHighestSnapshotSlot",
    "getIdentity",
    "getInflationGovernor",
    "getInflationRate",
    "getInflationReward",
    "getLargestAccounts",
    "getLatestBlockhash",
    "getLeaderSchedule",
    "getMaxRetransmitSlot",
    "getMaxShredInsertSlot",
    "getMinimumBalanceForRentExemption",
    "getMultipleAccounts",
    "getProgramAccounts",
    "getRecentPerformanceSamples",
    "getRecentPrioritizationFees",
    "getSignatureStatuses",
    "getSignaturesForAddress",
    "getSlot",
    "getSlotLeader",
    "getSlotLeaders",
    "getStakeMinimumDelegation",
    "getSupply",
    "getTokenAccountBalance",
    "getTokenAccountsByDelegate",
    "getTokenAccountsByOwner",
    "getTokenLargestAccounts",
    "getTokenSupply",
    "getTransaction",
    "getTransactionCount",
    "getVersion",
    "getVoteAccounts",
    "isBlockhashValid",
    "minimumLedgerSlot",
    "simulateTransaction",
];

/// An upstream's methods: its chain's, and the reads that the conf adds.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    chain: Chain,
    names: Vec<String>,
    prefixes: Vec<String>,
}

impl Methods {
    /// The methods of `chain`; `reads` are names, or beginnings of names that end with `*`.
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
        if is_read(self.chain, method) {
            return MethodClass::Read;
        }
        if self.names.iter().any(|name| name == method) || self.prefixes.iter().any(|p| method.starts_with(p.as_str()))
        {
            return MethodClass::Read;
        }
        match (self.chain, method) {
            (Chain::Ethereum, SEND_RAW_TRANSACTION) => MethodClass::IdempotentWrite,
            _ => MethodClass::Write,
        }
    }
}

/// Writes that are counted by name. Sorted, too.
const WRITES: [&str; 3] = [SEND_RAW_TRANSACTION, "eth_sendTransaction", "sendTransaction"];

/// Methods that are told apart, in the order of their numbers.
const KNOWN: [&[&str]; 5] = [ETHEREUM_READS, SOLANA_READS, ETHEREUM_VENDOR_READS, SOLANA_VENDOR_READS, &WRITES];

/// How many methods are told apart, all that aren't known being one.
pub(super) const METHOD_KINDS: usize =
    KNOWN[0].len() + KNOWN[1].len() + KNOWN[2].len() + KNOWN[3].len() + KNOWN[4].len() + 1;

/// A number below [`METHOD_KINDS`] for `method`, the last one for all that aren't known: clients can't make new ones.
pub(super) fn method_kind(method: &str) -> usize {
    let mut before = 0;
    for list in KNOWN {
        if let Ok(position) = list.binary_search(&method) {
            return before + position;
        }
        before += list.len();
    }
    METHOD_KINDS - 1
}

/// `method` as a metric label: itself if it is a known one, else `other`.
pub fn method_label(method: &str) -> &'static str {
    KNOWN.into_iter().flatten().copied().nth(method_kind(method)).unwrap_or("other")
}

fn is_read(chain: Chain, method: &str) -> bool {
    let [reads, vendors] = match chain {
        Chain::Ethereum => [ETHEREUM_READS, ETHEREUM_VENDOR_READS],
        Chain::Solana => [SOLANA_READS, SOLANA_VENDOR_READS],
    };
    reads.binary_search(&method).is_ok() || vendors.binary_search(&method).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(KNOWN.iter().all(|list| list.is_sorted()));
        let mut all = KNOWN.concat();
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
        let solana = Methods::new(Chain::Solana, &[]);
        for (method, class) in [
            ("getAssetsByOwner", MethodClass::Read),
            ("searchAssets", MethodClass::Read),
            ("sendBundle", MethodClass::Write),
            ("sendSmartTransaction", MethodClass::Write),
        ] {
            assert_eq!(solana.classify(method), class, "{method}");
        }
    }

    /// What a name says about what a method does. A vendor's next method must not slip in by
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
        for method in KNOWN[..4].concat() {
            let name = method.split_once('_').map_or(method, |(_, name)| name);
            assert!(verbs.iter().all(|verb| !name.starts_with(verb)), "{method}");
        }
    }

    #[test]
    fn each_chain_has_its_own_methods() {
        let solana = Methods::new(Chain::Solana, &[]);
        assert_eq!(solana.classify("getSlot"), MethodClass::Read);
        for write in ["sendTransaction", "requestAirdrop", "eth_call", "eth_sendRawTransaction"] {
            assert_eq!(solana.classify(write), MethodClass::Write, "{write}");
        }
    }

    #[test]
    fn the_conf_may_add_reads() {
        let methods = Methods::new(Chain::Ethereum, &["arb_*".into(), "custom_get".into()]);
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
