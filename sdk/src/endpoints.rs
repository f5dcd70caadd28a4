//! The rows of a scoring call.
//!
//! The proxy passes the stride from row to row, so a policy built against this version runs on a
//! proxy with longer rows. The memory is a slice of words: alignment needs no check, and a row is a
//! view.

use std::iter::FusedIterator;
use std::ops::Index;

use crate::{Endpoint, export};

/// Rows per iteration of [`Endpoints::score_each`].
const AT_ONCE: usize = 4;
/// Words of a row in this version.
const ROW_WORDS: usize = size_of::<Endpoint>() / size_of::<u64>();

/// The candidate endpoints, in the proxy's order. Cheap to copy.
#[derive(Clone, Copy)]
pub struct Endpoints<'a> {
    /// Exactly `len * stride` words.
    words: &'a [u64],
    /// Words from one row to the next, at least [`ROW_WORDS`].
    stride: usize,
    len: usize,
}

impl<'a> Endpoints<'a> {
    /// Creates a view of `len` rows that are `stride` bytes apart. Returns `None` if the stride is
    /// shorter than a row or not a multiple of 8, or if there are too few words.
    #[doc(hidden)]
    pub fn with_stride(words: &'a [u64], stride: usize, len: usize) -> Option<Self> {
        if stride < size_of::<Endpoint>() || !stride.is_multiple_of(size_of::<u64>()) {
            return None;
        }
        let stride = stride / size_of::<u64>();
        let words = words.get(..stride.checked_mul(len)?)?;
        Some(Endpoints { words, stride, len })
    }

    /// Returns the number of endpoints.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` if there are no endpoints. The proxy doesn't call a policy with an empty
    /// table.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the endpoint in row `row`, which is not its [`index`](Endpoint::index).
    pub fn get(&self, row: usize) -> Option<&'a Endpoint> {
        if row >= self.len {
            return None;
        }
        export::view(&self.words[row * self.stride..])
    }

    /// Scores each endpoint independently, in row order. Cheaper than a plain loop: the proxy
    /// checks fuel and deadline at each iteration, and several endpoints share one.
    ///
    /// # Panics
    /// Panics if there are fewer scores than endpoints.
    #[inline]
    pub fn score_each(&self, scores: &mut [f64], mut score: impl FnMut(&Endpoint) -> f64) {
        let scores = &mut scores[..self.len];
        if self.stride == ROW_WORDS {
            let (rows, last_rows) = export::views::<Endpoint>(self.words).as_chunks::<AT_ONCE>();
            let (scores, last_scores) = scores.as_chunks_mut::<AT_ONCE>();
            for (rows, scores) in rows.iter().zip(scores) {
                *scores = rows.each_ref().map(&mut score);
            }
            last_rows.iter().zip(last_scores).for_each(|(row, place)| *place = score(row));
        } else {
            self.iter().zip(scores).for_each(|(row, place)| *place = score(row));
        }
    }

    /// Returns an iterator over the endpoints, in row order.
    pub fn iter(&self) -> Iter<'a> {
        Iter { words: self.words, stride: self.stride }
    }
}

/// For tests: rows with the layout of version 1.0.
impl<'a> From<&'a [Endpoint]> for Endpoints<'a> {
    fn from(rows: &'a [Endpoint]) -> Self {
        Endpoints { words: export::words(rows), stride: ROW_WORDS, len: rows.len() }
    }
}

impl Index<usize> for Endpoints<'_> {
    type Output = Endpoint;

    /// Panics if there is no such row.
    fn index(&self, row: usize) -> &Endpoint {
        match self.get(row) {
            Some(endpoint) => endpoint,
            None => panic!("row {row} of {}", self.len),
        }
    }
}

impl<'a> IntoIterator for Endpoints<'a> {
    type Item = &'a Endpoint;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// An iterator over [`Endpoints`].
#[derive(Clone)]
pub struct Iter<'a> {
    words: &'a [u64],
    stride: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Endpoint;

    #[inline]
    fn next(&mut self) -> Option<&'a Endpoint> {
        let (row, rest) = self.words.split_at_checked(self.stride)?;
        self.words = rest;
        export::view(row)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = self.words.len() / self.stride;
        (len, Some(len))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn rows() -> [Endpoint; 3] {
        [10, 11, 12].map(|index| Endpoint { index, ..Endpoint::default() })
    }

    fn words_of(row: &Endpoint) -> &[u64] {
        export::words(std::slice::from_ref(row))
    }

    fn indices(endpoints: Endpoints<'_>) -> Vec<u32> {
        endpoints.iter().map(|endpoint| endpoint.index).collect()
    }

    #[test]
    fn rows_of_this_version_read_in_order() {
        let rows = rows();
        let endpoints = Endpoints::from(&rows[..]);
        assert_eq!((endpoints.len(), endpoints.iter().len()), (3, 3));
        assert_eq!(indices(endpoints), [10, 11, 12]);
        assert_eq!(endpoints[2].index, 12);
        assert!(endpoints.get(3).is_none());
    }

    #[test]
    fn rows_of_a_later_version_are_stepped_over_by_their_stride() {
        let rows = rows();
        let wide: Vec<u64> = rows.iter().flat_map(|row| [words_of(row), &[u64::MAX; 2]].concat()).collect();
        let endpoints = Endpoints::with_stride(&wide, 80, 3).unwrap();
        assert_eq!(indices(endpoints), [10, 11, 12]);
        assert_eq!([0, 1, 2].map(|row| endpoints[row].index), [10, 11, 12]);
    }

    #[test]
    fn each_is_scored_once_and_in_its_place() {
        let rows: Vec<Endpoint> = (0..11).map(|index| Endpoint { index, ..Endpoint::default() }).collect();
        for len in 0..rows.len() {
            let wide: Vec<u64> = rows.iter().flat_map(|row| [words_of(row), &[u64::MAX; 2]].concat()).collect();
            for endpoints in [Endpoints::from(&rows[..len]), Endpoints::with_stride(&wide, 80, len).unwrap()] {
                let mut scores = vec![-1.0; len + 1];
                endpoints.score_each(&mut scores, |endpoint| f64::from(endpoint.index) + 0.5);
                let expected: Vec<f64> =
                    rows[..len].iter().map(|row| f64::from(row.index) + 0.5).chain([-1.0]).collect();
                assert_eq!(scores, expected, "{len}");
            }
        }
    }

    #[test]
    fn a_stride_that_the_rows_can_not_have_is_refused() {
        let words = [0; 64];
        for (stride, len) in [(0, 1), (56, 1), (68, 1), (64, 9), (64, usize::MAX)] {
            assert!(Endpoints::with_stride(&words, stride, len).is_none(), "{stride} {len}");
        }
        assert!(Endpoints::with_stride(&words, 64, 8).is_some());
    }

    #[test]
    #[should_panic(expected = "row 3 of 3")]
    fn indexing_beyond_the_last_row_panics() {
        let rows = rows();
        let _ = Endpoints::from(&rows[..])[3];
    }
}
