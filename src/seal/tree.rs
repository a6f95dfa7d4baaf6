//! The Merkle tree of RFC 6962 section 2.1: root and inclusion proofs.

use super::leaf::{Hash, digest, node};

/// The root over leaves in their order. The root over none is the hash of nothing.
pub fn root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut tree = Tree::default();
    leaves.into_iter().for_each(|it| tree.push(it));
    tree.root()
}

/// A tree that grows by a leaf at a time and holds none of them.
#[derive(Debug, Default)]
pub struct Tree {
    /// The roots of whole subtrees on the left, with their sizes: a binary counter.
    whole: Vec<(u64, Hash)>,
}

impl Tree {
    /// Appends a leaf.
    pub fn push(&mut self, leaf: Hash) {
        let (mut size, mut hash) = (1, leaf);
        while let Some((left, _)) = self.whole.last().filter(|(left, _)| *left == size) {
            size += left;
            if let Some((_, left)) = self.whole.pop() {
                hash = node(&left, &hash);
            }
        }
        self.whole.push((size, hash));
    }

    /// The root over the leaves so far. The root over none is the hash of nothing.
    pub fn root(self) -> Hash {
        let mut rest = self.whole.into_iter().rev().map(|(_, hash)| hash);
        let last = rest.next().unwrap_or_else(|| digest(b""));
        rest.fold(last, |right, left| node(&left, &right))
    }
}

/// The hashes that prove that `leaves[index]` is in the tree, from the leaf upward.
pub fn inclusion(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let (left, right) = leaves.split_at(largest_power_below(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (inclusion(left, index)?, root(right.iter().copied()))
    } else {
        (inclusion(right, index - left.len())?, root(left.iter().copied()))
    };
    path.push(sibling);
    Some(path)
}

/// The root that a leaf, its place and a proof give (RFC 9162 section 2.1.3.2); `None` when the
/// proof has the wrong length.
pub fn root_of(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

fn largest_power_below(count: usize) -> usize {
    1 << (usize::BITS - 1 - (count - 1).leading_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::seal::leaf::leaf;

    /// The tree of certificate-transparency's reference tests.
    fn leaves() -> Vec<Hash> {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        inputs.iter().map(|it| leaf(it)).collect()
    }

    #[test]
    fn roots_are_those_of_the_reference_implementation() {
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        for (count, want) in roots.iter().enumerate() {
            assert_eq!(hex(&root(leaves().into_iter().take(count + 1))), *want);
        }
    }

    #[test]
    fn every_leaf_is_proved_and_no_other() {
        for size in 1..=8_usize {
            let leaves = leaves()[..size].to_vec();
            let root = root(leaves.iter().copied());
            for (index, leaf) in leaves.iter().enumerate() {
                let path = inclusion(&leaves, index).unwrap();
                assert_eq!(root_of(*leaf, index as u64, size as u64, &path), Some(root));
                assert_ne!(root_of(digest(b"other"), index as u64, size as u64, &path), Some(root));
            }
        }
    }
}
