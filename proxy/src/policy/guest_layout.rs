//! The reserved area in a guest's memory for the blocks of its hot calls, one per instance.

use bytemuck::{bytes_of, cast_slice};

use super::Rows;
use super::abi::{
    ATTEMPT_SIZE_OF_1_1, AttemptBlock, EndpointRow, MINOR_OF_1_2, REQUEST_SIZE_OF_1_1, RequestBlock, request_flags,
    size,
};
use super::error::{PluginError, Stage};
use super::fault::Fault;
use super::instance::Instance;

/// Alignment of the area: a cache line, so that a row never straddles two.
const BLOCK_ALIGN: u32 = 64;
/// Room for an attempt block, so that the rows behind it are aligned.
const ATTEMPT_ROOM: u32 = size::<AttemptBlock>().next_multiple_of(BLOCK_ALIGN);
const _: () = assert!(size::<RequestBlock>().is_multiple_of(BLOCK_ALIGN));
/// The offset of the tags in a row.
const TAGS_AT: usize = std::mem::offset_of!(EndpointRow, tags);
/// The offset of a request's flags in its block.
pub(super) const FLAGS_AT: u32 = 32;
const _: () = assert!(std::mem::offset_of!(RequestBlock, flags) == FLAGS_AT as usize);

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
        let blocks = (size::<RequestBlock>() + ATTEMPT_ROOM + BLOCK_ALIGN) as usize;
        let total = u32::try_from(blocks + row_bytes + score_bytes)
            .map_err(|_| PluginError::new(Stage::Configure, format!("{capacity} endpoints are too many")))?;
        let request = instance.alloc(total, BLOCK_ALIGN)?;
        let attempt = request + size::<RequestBlock>();
        let decision = attempt + ATTEMPT_ROOM;
        let rows = decision + BLOCK_ALIGN;
        // The sum fits: it is below `request + total`, which `alloc` checked against the memory.
        let scores = rows + u32::try_from(row_bytes).unwrap_or(u32::MAX);
        Ok(Area { request, attempt, decision, rows, scores, capacity })
    }

    /// Writes the request as a guest of minor version `minor` knows it.
    pub(super) fn put_request(self, data: &mut [u8], request: &RequestBlock, minor: u32) -> Result<(), Fault> {
        if minor >= MINOR_OF_1_2 {
            return put(data, self.request, bytes_of(request));
        }
        put(data, self.request, &bytes_of(request)[..REQUEST_SIZE_OF_1_1 as usize])?;
        put(data, self.request, &REQUEST_SIZE_OF_1_1.to_le_bytes())?;
        put(data, self.request + FLAGS_AT, &(request.flags & request_flags::OF_1_1).to_le_bytes())
    }

    /// Writes the attempt as a guest of minor version `minor` knows it.
    pub(super) fn put_attempt(self, data: &mut [u8], attempt: &AttemptBlock, minor: u32) -> Result<(), Fault> {
        if minor >= MINOR_OF_1_2 {
            return put(data, self.attempt, bytes_of(attempt));
        }
        put(data, self.attempt, &bytes_of(attempt)[..ATTEMPT_SIZE_OF_1_1 as usize])?;
        put(data, self.attempt, &ATTEMPT_SIZE_OF_1_1.to_le_bytes())
    }

    /// Writes the rows, with the bits of the guest's own list of tags, if it has one.
    pub(super) fn put_rows(self, data: &mut [u8], rows: Rows<'_>) -> Result<(), Fault> {
        let place = slot(data, self.rows, size_of_val(rows.rows))?;
        place.copy_from_slice(cast_slice(rows.rows));
        if let Some(tags) = rows.tags {
            for (row, place) in rows.rows.iter().zip(place.chunks_exact_mut(size_of::<EndpointRow>())) {
                place[TAGS_AT..][..size_of::<u64>()].copy_from_slice(&tags.of(row.index).to_le_bytes());
            }
        }
        Ok(())
    }
}

/// Copies `bytes` into the guest's memory.
pub(super) fn put(data: &mut [u8], ptr: u32, bytes: &[u8]) -> Result<(), Fault> {
    slot(data, ptr, bytes.len())?.copy_from_slice(bytes);
    Ok(())
}

/// The bytes of a block. They were checked when they were reserved; checking again is cheaper than
/// proving that they are still there.
pub(super) fn slot(data: &mut [u8], ptr: u32, len: usize) -> Result<&mut [u8], Fault> {
    let start = ptr as usize;
    data.get_mut(start..start + len).ok_or_else(|| Fault::Abi("lost the memory it had reserved".into()))
}
