//! Which JSON-RPC methods change something.
//!
//! Reads are listed, by chain; whatever is not listed counts as a write, because sending an unknown write twice is worse than
//! not retrying an unknown read. The conf may list more. Sources: the Ethereum execution-apis specification and the trace,
//! debug and txpool namespaces as Geth, Erigon and Nethermind document them; Solana's RPC documentation.

/// What a retry of a method may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// Writes that are counted by name.
const WRITES: [&str; 3] = [SEND_RAW_TRANSACTION, "eth_sendTransaction", "sendTransaction"];

/// How many methods are told apart, all that aren't known being one.
pub(super) const METHOD_KINDS: usize = ETHEREUM_READS.len() + SOLANA_READS.len() + WRITES.len() + 1;

/// A number below [`METHOD_KINDS`] for `method`, the last one for all that aren't known: clients can't make new ones.
pub(super) fn method_kind(method: &str) -> usize {
    let (ethereum, solana) = (ETHEREUM_READS.len(), SOLANA_READS.len());
    if let Ok(position) = ETHEREUM_READS.binary_search(&method) {
        return position;
    }
    if let Ok(position) = SOLANA_READS.binary_search(&method) {
        return ethereum + position;
    }
    let write = WRITES.iter().position(|write| *write == method);
    ethereum + solana + write.unwrap_or(WRITES.len())
}

/// `method` as a metric label: itself if it is a known one, else `other`.
pub fn method_label(method: &str) -> &'static str {
    let known = ETHEREUM_READS.iter().chain(SOLANA_READS).chain(&WRITES);
    known.copied().nth(method_kind(method)).unwrap_or("other")
}

fn is_read(chain: Chain, method: &str) -> bool {
    let reads = match chain {
        Chain::Ethereum => ETHEREUM_READS,
        Chain::Solana => SOLANA_READS,
    };
    reads.binary_search(&method).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(ETHEREUM_READS.is_sorted() && SOLANA_READS.is_sorted());
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
