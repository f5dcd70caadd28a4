//! The ends of WebSocket frames (RFC 6455, section 5.2). Payloads aren't read.

/// Bytes of the shortest head.
const LEAST_HEAD: usize = 2;
/// A payload length of this value is followed by two bytes with the length, the next one by eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The position in one direction of a WebSocket connection.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; 10],
    /// Bytes of the head so far.
    read: usize,
    /// Bytes left of the mask and the payload.
    left: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    pub(super) fn at_boundary(&self) -> bool {
        self.read == 0 && self.left == 0
    }

    /// The number of `bytes` up to the end of the current frame.
    pub(super) fn to_boundary(&self, bytes: &[u8]) -> usize {
        let mut ahead = Frames { head: self.head, ..*self };
        let mut taken = 0;
        while taken < bytes.len() && !(taken > 0 && ahead.at_boundary()) {
            taken += ahead.step(&bytes[taken..]);
        }
        taken
    }

    /// Passes these bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &bytes[taken..];
        }
    }

    /// Takes some of the bytes: of the payload, or one of a head.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= taken as u64;
            return taken;
        }
        self.head[self.read] = bytes[0];
        self.read += 1;
        if self.read >= LEAST_HEAD && self.read == self.head_length() {
            self.left = self.payload().saturating_add(if self.head[1] & 0x80 == 0 { 0 } else { 4 });
            self.read = 0;
        }
        1
    }

    /// The length of the head without the mask.
    fn head_length(&self) -> usize {
        match self.head[1] & 0x7f {
            LENGTH_16 => 4,
            LENGTH_64 => 10,
            _ => LEAST_HEAD,
        }
    }

    fn payload(&self) -> u64 {
        let extended = &self.head[LEAST_HEAD..self.head_length()];
        match self.head[1] & 0x7f {
            length if length < LENGTH_16 => length.into(),
            _ => extended.iter().fold(0, |length, byte| (length << 8) | u64::from(*byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with this length of payload.
    fn frame(masked: bool, length: usize) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(mask | u8::try_from(length).unwrap()),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.resize(frame.len() + length + if masked { 4 } else { 0 }, 0xff);
        frame
    }

    #[test]
    fn frames_end_where_their_length_says_however_they_are_cut() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536, 70_000] {
            for masked in [false, true] {
                let bytes = frame(masked, length);
                for cut in [0, 1, 2, 3, 5, 9, 11].into_iter().filter(|cut| *cut < bytes.len()) {
                    let mut frames = Frames::default();
                    frames.pass(&bytes[..cut]);
                    assert_eq!(frames.at_boundary(), cut == 0, "{length} {masked} cut at {cut}");
                    let rest = [&bytes[cut..], &frame(false, 3)].concat();
                    assert_eq!(frames.to_boundary(&rest), bytes.len() - cut, "{length} {masked} cut at {cut}");
                    frames.pass(&rest[..bytes.len() - cut]);
                    assert!(frames.at_boundary());
                }
            }
        }
    }
}
