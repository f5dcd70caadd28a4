//! Solana.
//!
//! Sources: Solana's RPC documentation; for `VENDOR_READS` the digital asset standard's API and
//! Helius's documentation.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::{ChainId, IdForm, NO_NUMBER, Reading, Spec};
use crate::model::ProbeFailure;

pub(super) const SPEC: Spec = Spec {
    name: "solana",
    code: 1,
    reads: READS,
    vendor_reads: VENDOR_READS,
    writes: &["sendTransaction"],
    // A transaction with a renewed block hash is a different one.
    idempotent_write: None,
    heads: &["getSlot", "getBlockHeight"],
    read_probe,
    id_method: "getGenesisHash",
    read_id,
    id_form: IdForm::Text(is_genesis),
    id_words: "must be the genesis hash, as getGenesisHash tells it: 32 to 44 letters and digits, with chain = \"solana\"",
    known_answer: |_, _| None,
};

/// Lengths of 32 bytes in base58.
const GENESIS_LENGTH: RangeInclusive<usize> = 32..=44;

/// The longest identity that is accepted.
const MAX_ID: usize = 64;

/// All but the writes `sendTransaction` and `requestAirdrop`.
const READS: &[&str] = &[
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

const VENDOR_READS: &[&str] = &[
    "getAsset",
    "getAssetBatch",
    "getAssetProof",
    "getAssetProofBatch",
    "getAssetSignatures",
    "getAssetsByAuthority",
    "getAssetsByCreator",
    "getAssetsByGroup",
    "getAssetsByOwner",
    "getNftEditions",
    "getPriorityFeeEstimate",
    "getTokenAccounts",
    "searchAssets",
];

fn read_probe(method: &str, result: &Value) -> Option<Reading> {
    match method {
        "getSlot" | "getBlockHeight" => Some(result.as_u64().map(Some).ok_or(NO_NUMBER)),
        "getHealth" if result != "ok" => Some(Err(ProbeFailure::new("says that it isn't healthy"))),
        _ => None,
    }
}

/// Identities of other chains may be longer.
fn read_id(result: &Value) -> Option<ChainId> {
    let hash = result.as_str()?;
    let fit = hash.len() <= MAX_ID && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fit.then(|| ChainId::Text(hash.to_owned()))
}

fn is_genesis(hash: &str) -> bool {
    GENESIS_LENGTH.contains(&hash.len()) && hash.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn heads_are_whole_numbers() {
        for (method, result, expected) in [
            ("getSlot", json!(16), Ok(Some(16))),
            ("getBlockHeight", json!(16), Ok(Some(16))),
            ("getSlot", json!("0x10"), Err(NO_NUMBER)),
            ("getSlot", json!(-1), Err(NO_NUMBER)),
            ("getSlot", json!(1.5), Err(NO_NUMBER)),
        ] {
            assert_eq!(read_probe(method, &result), Some(expected), "{method} {result}");
        }
    }

    #[test]
    fn a_node_that_is_behind_is_not_fit() {
        assert_eq!(read_probe("getHealth", &json!("ok")), None);
        assert!(read_probe("getHealth", &json!("behind")).unwrap().is_err());
    }
}
