//! Signatures of plugin files in minisign's format: Ed25519 over the file's BLAKE2b hash, in a
//! small text file.
//!
//! Only prehashed signatures are accepted, which minisign has made since version 0.10. Older ones
//! sign the whole file, and would be a second way to sign the same thing.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use minisign_verify::{PublicKey, Signature};
use thiserror::Error;

/// Bytes of a decoded public key: algorithm, key id, key.
const KEY_BYTES: usize = 2 + 8 + 32;
/// Bytes of a decoded signature: algorithm, key id, signature.
const SIGNATURE_BYTES: usize = 2 + 8 + 64;

/// A public key whose signatures are accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustedKey {
    id: KeyId,
    key: PublicKey,
}

/// The id of a key. It identifies a key and proves nothing; displayed like minisign's, as 16
/// hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyId(u64);

/// The text isn't a public key.
#[derive(Debug, Error)]
#[error("must be a minisign public key: the line of minisign.pub that begins with RW, 56 characters")]
pub struct KeyError;

/// Why a signature isn't accepted.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SignatureError {
    /// The text isn't a signature.
    #[error("is no minisign signature, or is cut short")]
    Malformed,
    /// The signing key isn't trusted.
    #[error("is by key {0}, which is none of the trusted ones")]
    UnknownKey(KeyId),
    /// It isn't prehashed.
    #[error("is of minisign's old kind, which isn't prehashed")]
    Legacy,
    /// It belongs to another file, or the file or the signature's comment was changed.
    #[error("doesn't fit the file: one of them was changed, or belongs to another (it claims to be by key {0})")]
    Mismatch(KeyId),
}

/// Verifies the text `signature` of `bytes`, and returns the key that made it.
///
/// # Errors
/// When it isn't a valid signature by one of `keys`.
pub fn verify(bytes: &[u8], signature: &[u8], keys: &[TrustedKey]) -> Result<KeyId, SignatureError> {
    let text = std::str::from_utf8(signature).map_err(|_| SignatureError::Malformed)?;
    let id = text.lines().nth(1).and_then(KeyId::of::<SIGNATURE_BYTES>).ok_or(SignatureError::Malformed)?;
    let signature = Signature::decode(text).map_err(|_| SignatureError::Malformed)?;
    // Ids are so short that two keys may share one.
    let mut outcome = Err(SignatureError::UnknownKey(id));
    for trusted in keys.iter().filter(|trusted| trusted.id == id) {
        outcome = match trusted.key.verify(bytes, &signature, false) {
            Ok(()) => return Ok(id),
            Err(minisign_verify::Error::UnexpectedAlgorithm) => Err(SignatureError::Legacy),
            Err(_) => Err(SignatureError::Mismatch(id)),
        };
    }
    outcome
}

impl TrustedKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        self.id
    }
}

impl FromStr for TrustedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let id = KeyId::of::<KEY_BYTES>(text).ok_or(KeyError)?;
        Ok(TrustedKey { id, key: PublicKey::from_base64(text).map_err(|_| KeyError)? })
    }
}

impl fmt::Debug for TrustedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)
    }
}

impl KeyId {
    /// The id in a base64 key or signature of `N` bytes.
    fn of<const N: usize>(text: &str) -> Option<Self> {
        let bytes: [u8; N] = BASE64_STANDARD.decode(text).ok()?.try_into().ok()?;
        bytes[2..].first_chunk().map(|id| KeyId(u64::from_le_bytes(*id)))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016X}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Signer(minisign::KeyPair);

    impl Signer {
        fn new() -> Self {
            Signer(minisign::KeyPair::generate_unencrypted_keypair().unwrap())
        }

        fn key(&self) -> TrustedKey {
            self.0.pk.to_base64().parse().unwrap()
        }

        fn sign(&self, bytes: &[u8]) -> String {
            minisign::sign(Some(&self.0.pk), &self.0.sk, bytes, Some("file:x.wasm"), None).unwrap().to_string()
        }
    }

    /// The signature with some bytes of its second line replaced.
    fn patched(signature: &str, at: usize, bytes: &[u8]) -> String {
        let mut lines: Vec<String> = signature.lines().map(str::to_owned).collect();
        let mut decoded = BASE64_STANDARD.decode(&lines[1]).unwrap();
        decoded[at..at + bytes.len()].copy_from_slice(bytes);
        lines[1] = BASE64_STANDARD.encode(decoded);
        lines.join("\n")
    }

    #[test]
    fn a_signature_by_any_trusted_key_counts_and_for_these_bytes_only() {
        let [ours, theirs] = [(); 2].map(|()| Signer::new());
        let keys = [theirs.key(), ours.key()];
        let signature = ours.sign(b"module");
        assert_eq!(verify(b"module", signature.as_bytes(), &keys), Ok(ours.key().id()));
        for other in [&b"modulE"[..], b"modul", b"module ", b""] {
            let mismatch = Err(SignatureError::Mismatch(ours.key().id()));
            assert_eq!(verify(other, signature.as_bytes(), &keys), mismatch, "{other:?}");
        }
        assert_eq!(
            verify(b"module", signature.as_bytes(), &keys[..1]),
            Err(SignatureError::UnknownKey(ours.key().id()))
        );
    }

    #[test]
    fn nobody_can_borrow_the_id_of_a_trusted_key() {
        let [ours, theirs] = [(); 2].map(|()| Signer::new());
        let id = ours.key().id();
        let borrowed = patched(&theirs.sign(b"module"), 2, &id.0.to_le_bytes());
        assert_eq!(verify(b"module", borrowed.as_bytes(), &[ours.key()]), Err(SignatureError::Mismatch(id)));
        // Of two trusted keys with the same id, the matching one counts, in any order.
        let twin = TrustedKey { id, key: PublicKey::from_base64(&twin_text(&theirs, id)).unwrap() };
        for keys in [[ours.key(), twin.clone()], [twin, ours.key()]] {
            assert_eq!(verify(b"module", borrowed.as_bytes(), &keys), Ok(id));
        }
    }

    /// A signer's key with another id.
    fn twin_text(signer: &Signer, id: KeyId) -> String {
        let mut bytes = BASE64_STANDARD.decode(signer.0.pk.to_base64()).unwrap();
        bytes[2..10].copy_from_slice(&id.0.to_le_bytes());
        BASE64_STANDARD.encode(bytes)
    }

    #[test]
    fn comments_are_signed_and_what_is_cut_short_or_old_is_told() {
        let signer = Signer::new();
        let (keys, signature) = ([signer.key()], signer.sign(b"module"));
        let refused = |text: &str| verify(b"module", text.as_bytes(), &keys).unwrap_err();
        let mismatch = SignatureError::Mismatch(keys[0].id());
        assert_eq!(refused(&signature.replace("file:x.wasm", "file:y.wasm")), mismatch);
        assert_eq!(refused(&patched(&signature, 20, &[0; 4])), mismatch);
        assert_eq!(refused(&patched(&signature, 0, b"Ed")), SignatureError::Legacy);
        assert_eq!(refused(&patched(&signature, 0, b"XX")), SignatureError::Malformed);
        let whole = signature.trim_end();
        for end in 0..whole.len() {
            assert_eq!(refused(&whole[..end]), SignatureError::Malformed, "{end} of {}", whole.len());
        }
        assert_eq!(verify(b"module", b"\xff\n\xff", &keys), Err(SignatureError::Malformed));
    }

    #[test]
    fn a_key_is_one_line_of_base64_and_shown_by_its_id_as_minisign_shows_it() {
        let signer = Signer::new();
        let pub_file = signer.0.pk.to_box().unwrap().to_string();
        let line = pub_file.lines().nth(1).unwrap();
        let key: TrustedKey = line.parse().unwrap();
        assert!(pub_file.lines().next().unwrap().contains(&key.id().to_string()), "{} in {pub_file}", key.id());
        assert_eq!(format!("{key:?}"), key.id().to_string());
        for wrong in ["", "RW", &line[1..], &line[..55], &format!("{line}="), &pub_file, &signer.sign(b"x"), "key.pub"]
        {
            assert!(wrong.parse::<TrustedKey>().is_err(), "{wrong:?}");
        }
        assert!(format!("AA{}", &line[2..]).parse::<TrustedKey>().is_err(), "another algorithm");
    }
}
