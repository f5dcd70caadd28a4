//! A signer of plugins: a test's own minisign key pair.

use std::sync::Arc;

use minisign::KeyPair;

/// A key pair.
#[derive(Clone)]
pub struct Signer(Arc<KeyPair>);

impl Signer {
    /// A new key pair.
    pub fn new() -> Signer {
        Signer(Arc::new(KeyPair::generate_unencrypted_keypair().expect("random numbers")))
    }

    /// The public key as a conf has it.
    pub fn key(&self) -> String {
        self.0.pk.to_base64()
    }

    /// The key's minisign id.
    pub fn id(&self) -> String {
        let text = self.0.pk.to_box().expect("a public key").to_string();
        let comment = text.lines().next().expect("a comment");
        comment.rsplit(' ').next().expect("its last word").to_owned()
    }

    /// The signature file for `bytes`.
    pub fn sign(&self, bytes: &[u8]) -> String {
        minisign::sign(None, &self.0.sk, bytes, Some("a test"), None).expect("a signature").to_string()
    }
}
