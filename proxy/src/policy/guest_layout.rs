//! The reserved area in a guest's memory for the blocks of its hot calls, one per instance.

use super::abi::{AttemptBlock, EndpointRow, RequestBlock, size};
use super::error::{PluginError, Stage};
use super::fault::Fault;
use super::instance::Instance;

/// Alignment of the area: a cache line, so that a row never straddles two.
const BLOCK_ALIGN: u32 = 64;

/// Offsets of the blocks in the guest's memory.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub(super) request: u32,
    pub(super) attempt: u32,
    /// Also the offset of the plan.
    pub(super) decision: u32,
    pub(super) rows: u32,
    pub(super) scores: u32,
    pub(super) capacity: usize,
}

impl Area {
    /// Reserves room for the blocks and for `capacity` rows and scores.
    pub(super) fn reserve(instance: &mut Instance, capacity: usize) -> Result<Self, PluginError> {
        let row_bytes = capacity * size_of::<EndpointRow>();
        let score_bytes = capacity * size_of::<f64>();
        let blocks = size_of::<RequestBlock>() + size_of::<AttemptBlock>() + BLOCK_ALIGN as usize;
        let total = u32::try_from(blocks + row_bytes + score_bytes)
            .map_err(|_| PluginError::new(Stage::Configure, format!("{capacity} endpoints are too many")))?;
        let request = instance.alloc(total, BLOCK_ALIGN)?;
        let attempt = request + size::<RequestBlock>();
        let decision = attempt + size::<AttemptBlock>();
        let rows = decision + BLOCK_ALIGN;
        // The sum fits: it is below `request + total`, which `alloc` checked against the memory.
        let scores = rows + u32::try_from(row_bytes).unwrap_or(u32::MAX);
        Ok(Area { request, attempt, decision, rows, scores, capacity })
    }
}

/// The bytes of a block. They were checked when they were reserved; checking again is cheaper than
/// proving that they are still there.
pub(super) fn slot(data: &mut [u8], ptr: u32, len: usize) -> Result<&mut [u8], Fault> {
    let start = ptr as usize;
    data.get_mut(start..start + len).ok_or_else(|| Fault::Abi("lost the memory it had reserved".into()))
}
