//! The rows of a scoring call, and endpoints' tags as bits.
//!
//! Rows are built once per selection, with bits in the alphabetical order of the upstream's tags. A
//! policy that lists its tags sees the bits of that list instead: they replace the others when the
//! rows are copied into its memory. So each of several policies that score the same rows has its
//! own bits, and a policy without a list costs nothing.

use super::abi::EndpointRow;

/// The rows of a scoring call as one policy sees them.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub(super) rows: &'a [EndpointRow],
    pub(super) tags: Option<&'a TagTable>,
}

impl<'a> Rows<'a> {
    /// These rows, with the tags of `table` if there is one.
    pub fn new(rows: &'a [EndpointRow], table: Option<&'a TagTable>) -> Self {
        Rows { rows, tags: table }
    }
}

/// Rows as they are.
impl<'a, R: AsRef<[EndpointRow]> + ?Sized> From<&'a R> for Rows<'a> {
    fn from(rows: &'a R) -> Self {
        Rows { rows: rows.as_ref(), tags: None }
    }
}

/// The tags of all endpoints of an upstream, as bits of one policy's list.
#[derive(Debug)]
pub struct TagTable(Box<[u64]>);

impl TagTable {
    /// The table for a policy that lists `listed`. `endpoints` has each endpoint's tags, by index.
    pub fn new<'a>(listed: &[String], endpoints: impl Iterator<Item = &'a [String]>) -> Self {
        TagTable(endpoints.map(|tags| tag_bits(listed, tags)).collect())
    }

    /// The bits of the endpoint with this index.
    pub fn of(&self, index: u32) -> u64 {
        self.0.get(index as usize).copied().unwrap_or(0)
    }
}

/// Bit n stands for the n-th of `listed`, which are at most 64.
pub fn tag_bits<T: AsRef<str>>(listed: impl IntoIterator<Item = T>, tags: &[String]) -> u64 {
    let set = listed.into_iter().enumerate().filter(|(_, listed)| tags.iter().any(|tag| tag == listed.as_ref()));
    set.fold(0, |bits, (n, _)| bits | 1 << n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn bits_are_positions_in_the_list_and_tags_outside_of_it_have_none() {
        let listed = owned(&["eu", "archive"]);
        let endpoints = [owned(&["archive"]), owned(&["us", "eu"]), owned(&["archive", "eu"]), owned(&[])];
        let table = TagTable::new(&listed, endpoints.iter().map(Vec::as_slice));
        assert_eq!([0, 1, 2, 3, 4].map(|index| table.of(index)), [0b10, 0b01, 0b11, 0, 0]);
        let many: Vec<String> = (0..64).map(|n| format!("t{n}")).collect();
        assert_eq!(tag_bits(&many, &owned(&["t63"])), 1 << 63);
    }
}
