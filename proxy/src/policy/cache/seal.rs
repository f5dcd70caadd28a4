//! The format of a file of compiled code: a header with its label, the code, and a seal over both.
//!
//! The seal is an HMAC-SHA256 with a key that only this user's processes can read. It distinguishes
//! code that one of them has sealed from code that is damaged, truncated, foreign, or stored under
//! another module's name.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::super::Digest;

/// The format of the header and of the sealed bytes. Each format has its own number.
const FORM: &[u8; 24] = b"pointsman compiled code\x01";
/// Length of a seal in bytes.
const SEAL: usize = 32;
/// Length of a SHA-256 block in bytes.
const BLOCK: usize = 64;

/// Length of a key in bytes.
pub(super) const KEY: usize = 32;

/// The sealing key.
pub(super) struct Key(pub(super) [u8; KEY]);

/// The label of code: it is valid for this module under these settings only.
#[derive(Clone, Copy)]
pub(super) struct Label {
    /// The module's digest.
    pub(super) module: Digest,
    /// The digest of the compiler, its settings, and the rules for modules.
    pub(super) settings: Digest,
}

/// Code that was sealed with our key under the expected label. Only [`open`] creates it.
pub(super) struct Verified<'a>(&'a [u8]);

/// The file contents for `code`.
pub(super) fn seal(code: &[u8], label: &Label, key: &Key) -> Vec<u8> {
    let seal = mac(code, label, key).finalize().into_bytes();
    [FORM, &label.settings.0[..], &label.module.0[..], &seal[..], code].concat()
}

/// The code in `file`, if it has this label and its seal is valid.
pub(super) fn open<'a>(file: &'a [u8], label: &Label, key: &Key) -> Option<Verified<'a>> {
    let rest = file.strip_prefix(FORM)?;
    let rest = rest.strip_prefix(&label.settings.0)?;
    let rest = rest.strip_prefix(&label.module.0)?;
    let (seal, code) = rest.split_first_chunk::<SEAL>()?;
    mac(code, label, key).verify_slice(seal).ok()?;
    Some(Verified(code))
}

/// Covers everything but the seal itself. Everything before the code has a fixed length.
fn mac(code: &[u8], label: &Label, Key(key): &Key) -> Hmac<Sha256> {
    // HMAC pads a key that is shorter than a block with zeros.
    let mut block = [0; BLOCK];
    block[..KEY].copy_from_slice(key);
    let mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.chain_update(FORM).chain_update(label.settings.0).chain_update(label.module.0).chain_update(code)
}

impl Verified<'_> {
    /// Loads the module from the code.
    ///
    /// # Errors
    /// When Wasmtime finds that the code isn't for its version or settings.
    pub(super) fn load(&self, engine: &wasmtime::Engine) -> wasmtime::Result<wasmtime::Module> {
        // SAFETY: `deserialize` requires unmodified bytes from `Module::serialize`, of any version
        // of Wasmtime. `self.0` is private to this file and set by `open` alone, to bytes whose
        // seal, made with our key, was verified as they are in memory now. Only `seal` makes seals,
        // its caller passes it the output of `serialize`, and the key is in a file that `folder`
        // has found to belong to this user and to be closed to all others. So these are bytes that
        // a process of this user serialized. The label shows that they are of this very Wasmtime
        // with these settings, and Wasmtime checks that, too. It copies the bytes: later changes of
        // the file don't matter.
        #[allow(unsafe_code, reason = "reading compiled code back is the point of the cache")]
        unsafe {
            wasmtime::Module::deserialize(engine, self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_A: Key = Key([7; KEY]);
    const LABEL: Label = Label { module: Digest([1; 32]), settings: Digest([2; 32]) };

    #[test]
    fn what_was_sealed_opens_and_nothing_that_differs_in_a_bit() {
        let file = seal(b"code of a module", &LABEL, &KEY_A);
        assert_eq!(open(&file, &LABEL, &KEY_A).unwrap().0, b"code of a module");
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&changed, &LABEL, &KEY_A).is_none(), "bit {bit}");
        }
        for end in 0..file.len() {
            assert!(open(&file[..end], &LABEL, &KEY_A).is_none(), "cut at {end}");
        }
        assert!(open(&[&file[..], b"\0"].concat(), &LABEL, &KEY_A).is_none());
        assert!(open(&seal(b"", &LABEL, &KEY_A), &LABEL, &KEY_A).is_some());
    }

    #[test]
    fn another_key_module_or_setting_opens_nothing() {
        let file = seal(b"code", &LABEL, &KEY_A);
        assert!(open(&file, &LABEL, &Key([8; KEY])).is_none());
        assert!(open(&file, &Label { module: Digest([3; 32]), ..LABEL }, &KEY_A).is_none());
        assert!(open(&file, &Label { settings: Digest([3; 32]), ..LABEL }, &KEY_A).is_none());
        // Nor does a forged header, because it is sealed, too.
        let other = Label { module: Digest([3; 32]), ..LABEL };
        let mut relabelled = file;
        let at = FORM.len() + 32;
        relabelled[at..at + 32].fill(3);
        assert!(open(&relabelled, &other, &KEY_A).is_none());
    }
}
