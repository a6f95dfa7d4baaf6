//! The hashes of RFC 6962 section 2.1, and the chain that says how far a source is kept.

use sha2::{Digest, Sha256};

use crate::hex::hex;

/// A SHA-256 digest.
pub type Hash = [u8; 32];

/// The leaf of some bytes: SHA-256(0x00 ‖ bytes).
pub fn leaf(bytes: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(bytes).finalize().into()
}

/// The node over two others: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([0x01]).chain_update(left).chain_update(right).finalize().into()
}

/// SHA-256 of some bytes.
pub fn digest(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A running digest over the leaves of a source's lines, in their order.
///
/// Two streams with one chain value at one offset held the same lines up to there. That is how
/// a file is known again after it was renamed or compressed, and how a different file with
/// the same first line is told apart.
#[derive(Debug, Clone)]
pub struct Chain(Sha256);

impl Default for Chain {
    fn default() -> Chain {
        Chain(Sha256::new())
    }
}

impl Chain {
    /// Adds the leaf of the next line.
    pub fn push(&mut self, leaf: &Hash) {
        self.0.update(leaf);
    }

    /// The digest of everything so far, hex.
    pub fn value(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_leaf_is_rfc_6962s() {
        assert_eq!(
            hex(&leaf(b"")),
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
        );
    }
}
