//! Merkle trees as OpenZeppelin builds them: sorted leaves, sorted pairs, each leaf hashed twice.

use serde::{Deserialize, Serialize};

use crate::ProviderId;
use crate::id::Id;
use crate::token::TokenAmount;
use crate::typed::{Domain, Word, keccak};
use crate::wallet::Address;

/// What one provider has been paid for since the beginning, as the contract reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaf {
    /// Whose.
    pub provider: ProviderId,
    /// Who may be paid.
    pub payee: Address,
    /// All tokens of all epochs until now.
    pub cumulative: TokenAmount,
}

/// A tree, its root first, as one list in which `n` has the children `2n + 1` and `2n + 2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree(Vec<[u8; 32]>);

/// A proof of several leaves at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MultiProof {
    /// What is proved, in the order in which it is taken.
    pub leaves: Vec<Word>,
    /// Hashes the leaves don't give.
    pub proof: Vec<Word>,
    /// For each step, whether its other half is made of leaves already.
    pub flags: Vec<bool>,
}

impl Leaf {
    /// As it stands in the tree of an instance.
    #[must_use]
    pub fn hash(&self, at: &Domain) -> [u8; 32] {
        let mut encoded = [0; 160];
        encoded[24..32].copy_from_slice(&at.chain_id.to_be_bytes());
        encoded[44..64].copy_from_slice(at.distributor.bytes());
        encoded[64..80].copy_from_slice(self.provider.uuid().as_bytes());
        encoded[108..128].copy_from_slice(self.payee.bytes());
        encoded[128..].copy_from_slice(self.cumulative.be_bytes());
        twice(&encoded)
    }
}

impl Tree {
    /// Over leaves in any order. Of no leaves there is a tree too: its root is zero, and it proves nothing.
    #[must_use]
    pub fn of(mut leaves: Vec<[u8; 32]>) -> Self {
        leaves.sort_unstable_by(|a, b| b.cmp(a));
        let Some(inner) = leaves.len().checked_sub(1) else { return Self(vec![[0; 32]]) };
        let mut nodes = vec![[0; 32]; inner];
        nodes.append(&mut leaves);
        for at in (0..inner).rev() {
            nodes[at] = pair(&nodes[2 * at + 1], &nodes[2 * at + 2]);
        }
        Self(nodes)
    }

    /// What stands for all of it.
    #[must_use]
    pub fn root(&self) -> Word {
        Word(self.0[0])
    }

    /// The way from `leaf` to the root; `None` for a leaf that is not in it.
    #[must_use]
    pub fn proof(&self, leaf: &[u8; 32]) -> Option<Vec<Word>> {
        let mut at = self.find(leaf)?;
        let mut proof = Vec::new();
        while at > 0 {
            proof.push(Word(self.0[sibling(at)]));
            at = (at - 1) / 2;
        }
        Some(proof)
    }

    /// The ways of several different leaves in one; `None` when one is not in it.
    #[must_use]
    pub fn multi_proof(&self, leaves: &[[u8; 32]]) -> Option<MultiProof> {
        let mut places = leaves.iter().map(|leaf| self.find(leaf)).collect::<Option<Vec<_>>>()?;
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.dedup();
        let leaves = places.iter().map(|at| Word(self.0[*at])).collect();
        let (mut proof, mut flags) = (Vec::new(), Vec::new());
        let mut queue: std::collections::VecDeque<usize> = places.into();
        if queue.is_empty() {
            proof.push(self.root());
        }
        while let Some(at) = queue.pop_front().filter(|at| *at > 0) {
            let given = queue.front() == Some(&sibling(at));
            if given {
                queue.pop_front();
            } else {
                proof.push(Word(self.0[sibling(at)]));
            }
            flags.push(given);
            queue.push_back((at - 1) / 2);
        }
        Some(MultiProof { leaves, proof, flags })
    }

    /// Leaves stand behind the inner nodes, the largest first.
    fn find(&self, leaf: &[u8; 32]) -> Option<usize> {
        let inner = self.0.len() / 2;
        self.0[inner..].binary_search_by(|node| leaf.cmp(node)).ok().map(|at| inner + at)
    }
}

impl MultiProof {
    /// Whether it leads to `root`. Leaves nobody asked about must not be believed for standing in it.
    #[must_use]
    pub fn leads_to(&self, root: &Word) -> bool {
        if self.leaves.len() + self.proof.len() != self.flags.len() + 1 {
            return false;
        }
        let mut queue: std::collections::VecDeque<[u8; 32]> = self.leaves.iter().map(|leaf| leaf.0).collect();
        let mut rest = self.proof.iter();
        for flag in &self.flags {
            let Some(one) = queue.pop_front() else { return false };
            let other = if *flag { queue.pop_front() } else { rest.next().map(|word| word.0) };
            let Some(other) = other else { return false };
            queue.push_back(pair(&one, &other));
        }
        // Whatever is left over would have been proved by nothing.
        let end = queue.pop_front().or_else(|| rest.next().map(|word| word.0));
        queue.is_empty() && rest.next().is_none() && end == Some(root.0)
    }
}

/// Whether `proof` leads from `leaf` to `root`.
#[must_use]
pub fn leads_to(root: &Word, leaf: &[u8; 32], proof: &[Word]) -> bool {
    proof.iter().fold(*leaf, |hash, other| pair(&hash, &other.0)) == root.0
}

/// A hash as a leaf: hashed twice, so that no inner node can pass for one.
#[must_use]
pub fn twice(bytes: &[u8]) -> [u8; 32] {
    keccak(&keccak(bytes))
}

const fn sibling(at: usize) -> usize {
    if at % 2 == 0 { at - 1 } else { at + 1 }
}

/// The smaller first: a proof needs no word on which side it stands.
fn pair(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(first);
    bytes[32..].copy_from_slice(second);
    keccak(&bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::Value;
    use uuid::Uuid;

    fn bytes<const N: usize>(value: &Value) -> [u8; N] {
        hex::decode(&value.as_str().unwrap()[2..]).unwrap().try_into().unwrap()
    }

    #[test]
    fn leaves_trees_and_proofs_are_those_of_openzeppelins_javascript() {
        let golden = include_str!("../../contracts/test/golden/merkle.json");
        let golden: Value = serde_json::from_str(golden).unwrap();
        let chain_id = golden["chain_id"].as_str().unwrap().parse().unwrap();
        let at = Domain { chain_id, distributor: Address::from_bytes(bytes(&golden["contract"])) };
        for told in golden["trees"].as_array().unwrap() {
            let leaves: Vec<Leaf> = told["leaves"].as_array().unwrap().iter().map(leaf).collect();
            let tree = Tree::of(leaves.iter().map(|leaf| leaf.hash(&at)).collect());
            assert_eq!(tree.root().0, bytes(&told["root"]));
            for (leaf, told) in leaves.iter().zip(told["leaves"].as_array().unwrap()) {
                let hash = leaf.hash(&at);
                assert_eq!(hash, bytes(&told["hash"]));
                let proof = tree.proof(&hash).unwrap();
                assert_eq!(serde_json::json!(proof), told["proof"]);
                assert!(leads_to(&tree.root(), &hash, &proof));
            }
        }
    }

    fn leaf(told: &Value) -> Leaf {
        Leaf {
            provider: ProviderId::from_uuid(Uuid::from_bytes(bytes(&told["provider"]))),
            payee: Address::from_bytes(bytes(&told["payee"])),
            cumulative: told["cumulative"].as_str().unwrap().parse().unwrap(),
        }
    }

    #[test]
    fn a_tree_of_nothing_proves_nothing() {
        let tree = Tree::of(Vec::new());
        assert_eq!((tree.root(), tree.proof(&[1; 32])), (Word::ZERO, None));
    }

    proptest! {
        #[test]
        fn whatever_is_in_a_tree_is_proved_and_nothing_else(
            seeds in vec(any::<u64>(), 1..70), picks in vec(any::<prop::sample::Index>(), 1..8), other in any::<u64>(),
        ) {
            let of = |seed: &u64| twice(&seed.to_be_bytes());
            let leaves: Vec<_> = seeds.iter().map(of).collect();
            let tree = Tree::of(leaves.clone());
            for leaf in &leaves {
                let proof = tree.proof(leaf).unwrap();
                prop_assert!(leads_to(&tree.root(), leaf, &proof));
                prop_assert!(seeds.contains(&other) || !leads_to(&tree.root(), &of(&other), &proof));
            }
            prop_assert_eq!(tree.proof(&of(&other)).is_some(), seeds.contains(&other));
            let picked: Vec<_> = picks.iter().map(|pick| leaves[pick.index(leaves.len())]).collect();
            let mut many = tree.multi_proof(&picked).unwrap();
            prop_assert!(many.leads_to(&tree.root()));
            prop_assert!(picked.iter().all(|leaf| many.leaves.contains(&Word(*leaf))));
            many.leaves[0].0[7] ^= 1;
            prop_assert!(!many.leads_to(&tree.root()));
        }
    }
}
