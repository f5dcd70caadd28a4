//! Ethereum and compatible chains.
//!
//! Sources: the Ethereum execution-apis specification; the `trace_`, `debug_` and `txpool_`
//! namespaces as Geth, Erigon, Nethermind, Reth and Besu document them; Erigon's RPC documentation
//! (`erigon_`, `ots_`, `parity_`, `bor_`, `eth_callMany`, `eth_callBundle`), Otterscan's API; Bor's
//! JSON-RPC documentation; zkSync's documentation of `zks_`, Arbitrum's of `arbtrace_`, Linea's of
//! `linea_`, the OP Stack's of `optimism_`; the ERC-4337 and ERC-7769 specifications of bundlers;
//! Alchemy's and QuickNode's API references.
//!
//! The lists of reads omit filters, which live at one endpoint; `bor_getVoteOnHash`, which locks a
//! milestone; `debug_` methods that write files or settings; and all methods that send, sign,
//! submit or sponsor.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use sha3::{Digest, Keccak256};

use super::{ChainId, IdForm, NO_NUMBER, Reading, Spec};
use crate::hex::{self, Hex};
use crate::model::ProbeFailure;

pub(super) const SPEC: Spec = Spec {
    name: "ethereum",
    code: 0,
    reads: READS,
    vendor_reads: VENDOR_READS,
    writes: &[SEND_RAW_TRANSACTION, "eth_sendTransaction"],
    // A signed transaction is identified by its hash.
    idempotent_write: Some(SEND_RAW_TRANSACTION),
    heads: &["eth_blockNumber"],
    read_probe,
    id_method: "eth_chainId",
    read_id: |result| quantity(result).map(ChainId::Number),
    id_form: IdForm::Number,
    id_words: "must be a whole number, as eth_chainId tells it; a genesis hash needs chain = \"solana\"",
    known_answer: transaction_hash,
};

const SEND_RAW_TRANSACTION: &str = "eth_sendRawTransaction";

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

const VENDOR_READS: &[&str] = &[
    "alchemy_getAssetTransfers",
    "alchemy_getTokenAllowance",
    "alchemy_getTokenBalances",
    "alchemy_getTokenMetadata",
    "alchemy_getTransactionReceipts",
    "alchemy_simulateAssetChanges",
    "alchemy_simulateAssetChangesBundle",
    "alchemy_simulateExecution",
    "alchemy_simulateExecutionBundle",
    "arbtrace_block",
    "arbtrace_call",
    "arbtrace_callMany",
    "arbtrace_filter",
    "arbtrace_get",
    "arbtrace_replayBlockTransactions",
    "arbtrace_replayTransaction",
    "arbtrace_transaction",
    "bor_getAuthor",
    "bor_getCurrentProposer",
    "bor_getCurrentValidators",
    "bor_getRootHash",
    "bor_getSigners",
    "bor_getSignersAtHash",
    "bor_getSnapshot",
    "bor_getSnapshotAtHash",
    "bor_getSnapshotProposer",
    "bor_getSnapshotProposerSequence",
    "debug_accountAt",
    "debug_accountRange",
    "debug_dumpBlock",
    "debug_executionWitness",
    "debug_getAccessibleState",
    "debug_getModifiedAccountsByHash",
    "debug_getModifiedAccountsByNumber",
    "debug_intermediateRoots",
    "debug_preimage",
    "debug_printBlock",
    "debug_storageRangeAt",
    "debug_traceBadBlock",
    "debug_traceBlock",
    "debug_traceCallMany",
    "erigon_blockNumber",
    "erigon_forks",
    "erigon_getBalanceChangesInBlock",
    "erigon_getBlockByTimestamp",
    "erigon_getBlockReceiptsByBlockHash",
    "erigon_getHeaderByHash",
    "erigon_getHeaderByNumber",
    "erigon_getLatestLogs",
    "erigon_getLogs",
    "erigon_getLogsByHash",
    "erigon_nodeInfo",
    "eth_baseFee",
    "eth_callBundle",
    "eth_callMany",
    "eth_config",
    "eth_estimateUserOperationGas",
    "eth_getAccount",
    "eth_getBorBlockReceipt",
    "eth_getHeaderByHash",
    "eth_getHeaderByNumber",
    "eth_getRawTransactionByBlockHashAndIndex",
    "eth_getRawTransactionByBlockNumberAndIndex",
    "eth_getRawTransactionByHash",
    "eth_getRootHash",
    "eth_getTransactionBySenderAndNonce",
    "eth_getTransactionReceiptsByBlock",
    "eth_getUserOperationByHash",
    "eth_getUserOperationReceipt",
    "eth_hashrate",
    "eth_mining",
    "eth_pendingTransactions",
    "eth_supportedEntryPoints",
    "linea_estimateGas",
    "linea_getProof",
    "linea_getTransactionExclusionStatusV1",
    "optimism_outputAtBlock",
    "optimism_rollupConfig",
    "optimism_safeHeadAtL1Block",
    "optimism_syncStatus",
    "optimism_version",
    "ots_getApiLevel",
    "ots_getBlockDetails",
    "ots_getBlockDetailsByHash",
    "ots_getBlockTransactions",
    "ots_getContractCreator",
    "ots_getHeaderByNumber",
    "ots_getInternalOperations",
    "ots_getTransactionBySenderAndNonce",
    "ots_getTransactionError",
    "ots_hasCode",
    "ots_searchTransactionsAfter",
    "ots_searchTransactionsBefore",
    "ots_traceTransaction",
    "parity_getBlockReceipts",
    "parity_listStorageKeys",
    "parity_pendingTransactions",
    "qn_fetchNFTCollectionDetails",
    "qn_fetchNFTs",
    "qn_fetchNFTsByCollection",
    "qn_getBlockWithReceipts",
    "qn_getBlocksInTimestampRange",
    "qn_getReceipts",
    "qn_getTokenMetadataByContractAddress",
    "qn_getTokenMetadataBySymbol",
    "qn_getTransactionsByAddress",
    "qn_getTransfersByNFT",
    "qn_getWalletTokenBalance",
    "qn_getWalletTokenTransactions",
    "qn_verifyNFTsOwner",
    "rpc_modules",
    "txpool_besuPendingTransactions",
    "txpool_besuStatistics",
    "txpool_besuTransactions",
    "txpool_contentFrom",
    "zks_L1BatchNumber",
    "zks_L1ChainId",
    "zks_estimateFee",
    "zks_estimateGasL1ToL2",
    "zks_getAllAccountBalances",
    "zks_getBaseTokenL1Address",
    "zks_getBlockDetails",
    "zks_getBridgeContracts",
    "zks_getBridgehubContract",
    "zks_getBytecodeByHash",
    "zks_getConfirmedTokens",
    "zks_getFeeParams",
    "zks_getL1BatchBlockRange",
    "zks_getL1BatchDetails",
    "zks_getL1GasPrice",
    "zks_getL2ToL1LogProof",
    "zks_getL2ToL1MsgProof",
    "zks_getMainContract",
    "zks_getProof",
    "zks_getProtocolVersion",
    "zks_getRawBlockTransactions",
    "zks_getTestnetPaymaster",
    "zks_getTokenPrice",
    "zks_getTransactionDetails",
];

fn read_probe(method: &str, result: &Value) -> Option<Reading> {
    match method {
        "eth_blockNumber" => Some(quantity(result).map(Some).ok_or(NO_NUMBER)),
        "eth_syncing" if *result != Value::Bool(false) => Some(Err(ProbeFailure::new("still syncing"))),
        _ => None,
    }
}

/// An Ethereum quantity: hexadecimal digits after `0x`.
fn quantity(result: &Value) -> Option<u64> {
    let digits = result.as_str()?.strip_prefix("0x")?;
    // The parser would also accept a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| plain)
}

#[derive(Deserialize)]
struct Transaction<'a> {
    method: &'a str,
    #[serde(borrow)]
    params: Vec<&'a str>,
}

/// The answer to an `eth_sendRawTransaction`, under `id`.
///
/// The Keccak-256 hash of a transaction's bytes identifies it (Ethereum Yellow Paper, section 4.3),
/// and is what a node returns when it accepts it. After a first attempt that broke off, "already
/// known" means that the transaction has landed.
fn transaction_hash(request: &[u8], id: &[u8]) -> Option<Bytes> {
    let transaction: Transaction<'_> = serde_json::from_slice(request).ok()?;
    let [raw, ..] = transaction.params.as_slice() else { return None };
    let bytes = hex::read(raw.strip_prefix("0x")?.as_bytes()).filter(|_| transaction.method == SEND_RAW_TRANSACTION)?;
    let hash = Keccak256::digest(&bytes);
    let hash = Hex(&hash);
    let id = std::str::from_utf8(id).ok()?;
    Some(Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":"0x{hash}"}}"#)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn heads_are_hexadecimal_numbers() {
        for (result, expected) in [
            (json!("0x10"), Ok(Some(16))),
            (json!("0xfffffffffffffffe"), Ok(Some(u64::MAX - 1))),
            (json!("0x10000000000000000"), Err(NO_NUMBER)),
            (json!("16"), Err(NO_NUMBER)),
            (json!("0x"), Err(NO_NUMBER)),
            (json!("0x+1"), Err(NO_NUMBER)),
            (json!(16), Err(NO_NUMBER)),
            (json!(null), Err(NO_NUMBER)),
        ] {
            assert_eq!(read_probe("eth_blockNumber", &result), Some(expected), "{result}");
        }
    }

    #[test]
    fn a_node_that_syncs_is_not_fit() {
        assert_eq!(read_probe("eth_syncing", &json!(false)), None);
        for syncing in [json!({ "currentBlock": "0x1" }), json!(true)] {
            assert!(read_probe("eth_syncing", &syncing).unwrap().is_err());
        }
        assert_eq!(read_probe("net_version", &json!(null)), None);
    }

    fn of(method: &str, params: &str) -> Option<String> {
        let request = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        transaction_hash(request.as_bytes(), b"7").map(|answer| String::from_utf8(answer.to_vec()).unwrap())
    }

    #[test]
    fn the_hash_is_that_of_the_bytes() {
        // Keccak-256 of the empty string and of "abc", from the Keccak team's test vectors.
        let empty = "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470";
        let abc = "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45";
        for (raw, hash) in [("0x", empty), ("0x616263", abc)] {
            let answer = of("eth_sendRawTransaction", &format!("[\"{raw}\"]")).unwrap();
            assert_eq!(answer, format!(r#"{{"jsonrpc":"2.0","id":7,"result":"0x{hash}"}}"#));
        }
    }

    #[test]
    fn nothing_else_is_answered() {
        assert_eq!(of("eth_sendTransaction", r#"["0x00"]"#), None);
        for params in ["[]", r#"["00"]"#, r#"["0x0"]"#, r#"["0xzz"]"#, "[{}]", r#"["0xé"]"#] {
            assert_eq!(of("eth_sendRawTransaction", params), None, "{params}");
        }
    }
}
