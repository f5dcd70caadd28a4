//! Which JSON-RPC methods change something.
//!
//! Reads are listed; whatever is not listed counts as a write, because sending an unknown write twice is worse than
//! not retrying an unknown read. Sources: the Ethereum execution-apis specification and the trace, debug and txpool
//! namespaces as Geth, Erigon and Nethermind document them.

/// A kind of blockchain, whose methods are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chain {
    /// Ethereum and what speaks like it.
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

/// The one write that is idempotent: a signed transaction is known by its hash.
const SEND_RAW_TRANSACTION: &str = "eth_sendRawTransaction";

/// Sorted, for the binary search in [`position`].
const READS: &[&str] = &[
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

/// The class of `method`.
pub fn classify_method(method: &str) -> MethodClass {
    match method {
        SEND_RAW_TRANSACTION => MethodClass::IdempotentWrite,
        _ if position(method).is_some() => MethodClass::Read,
        _ => MethodClass::Write,
    }
}

/// `method` as a metric label: itself if it is a known one, else `other`, so that no client can make new series.
pub fn method_label(method: &str) -> &'static str {
    match position(method) {
        Some(i) => READS[i],
        None if method == SEND_RAW_TRANSACTION => SEND_RAW_TRANSACTION,
        None => "other",
    }
}

fn position(method: &str) -> Option<usize> {
    READS.binary_search(&method).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(READS.is_sorted());
    }

    #[test]
    fn unknown_methods_are_writes_without_a_label() {
        assert_eq!(classify_method("eth_call"), MethodClass::Read);
        assert_eq!(classify_method("eth_sendRawTransaction"), MethodClass::IdempotentWrite);
        assert_eq!(classify_method("eth_sendTransaction"), MethodClass::Write);
        assert_eq!(classify_method("eth_Call"), MethodClass::Write);
        assert_eq!(classify_method("eth_newFilter"), MethodClass::Write);
        assert_eq!(method_label("eth_call"), "eth_call");
        assert_eq!(method_label("eth_sendRawTransaction"), "eth_sendRawTransaction");
        assert_eq!(method_label("made_up_by_a_client"), "other");
    }
}
