//! Checkpoints: C2SP `tlog-checkpoint` in a C2SP `signed-note`, Ed25519.
//!
//! <https://c2sp.org/tlog-checkpoint>, <https://c2sp.org/signed-note>

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use sha2::{Digest, Sha256};

use super::leaf::Hash;

/// The algorithm byte of Ed25519 in a signed note's key.
const ED25519: u8 = 0x01;

/// What a log says of itself: it has `size` leaves under that root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name; it is also the key's.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a note is not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The text is no signed note, or no checkpoint.
    #[error("not a signed checkpoint: {0}")]
    Form(&'static str),
    /// No signature of that key is on it.
    #[error("no signature by the key {0}")]
    Unsigned(String),
    /// A signature of that key is on it, and is wrong.
    #[error("the signature by the key {0} is wrong")]
    Forged(String),
}

impl Checkpoint {
    fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }

    /// The signed note.
    pub fn sign(&self, key: &SigningKey) -> String {
        let body = self.body();
        let mut blob = key_id(&self.origin, &key.verifying_key()).to_vec();
        blob.extend_from_slice(&key.sign(body.as_bytes()).to_bytes());
        format!("{body}\n\u{2014} {} {}\n", self.origin, base64(&blob))
    }

    /// Reads a note that carries that key's signature.
    ///
    /// # Errors
    /// When the note has another form or is not signed by the key.
    pub fn open(note: &str, key: &VerifyingKey) -> Result<Checkpoint, NoteError> {
        let (body, signatures) =
            note.split_once("\n\n").ok_or(NoteError::Form("no signature block"))?;
        let mut lines = body.lines();
        let mut line = || lines.next().ok_or(NoteError::Form("too short"));
        let origin = line()?.to_owned();
        let size = line()?.parse().map_err(|_| NoteError::Form("the size is no number"))?;
        let root = unbase64(line()?)
            .and_then(|it| it.try_into().ok())
            .ok_or(NoteError::Form("the root is no hash"))?;
        let id = key_id(&origin, key);
        for signature in signatures.lines() {
            let Some((name, blob)) =
                signature.strip_prefix("\u{2014} ").and_then(|it| it.split_once(' '))
            else {
                return Err(NoteError::Form("a line of the signature block is none"));
            };
            let blob = unbase64(blob).ok_or(NoteError::Form("a signature is not base64"))?;
            let Some(signature) = blob.strip_prefix(&id[..]).filter(|_| name == origin) else {
                continue;
            };
            let forged = || NoteError::Forged(origin.clone());
            let signature = Signature::from_slice(signature).map_err(|_| forged())?;
            let text = format!("{body}\n");
            key.verify(text.as_bytes(), &signature).map_err(|_| forged())?;
            return Ok(Checkpoint { origin, size, root });
        }
        Err(NoteError::Unsigned(origin))
    }
}

/// The public key as other tools take it: `name+hash+base64`.
pub fn verifier(name: &str, key: &VerifyingKey) -> String {
    let mut blob = vec![ED25519];
    blob.extend_from_slice(key.as_bytes());
    format!("{name}+{}+{}", crate::hex::hex(&key_id(name, key)), base64(&blob))
}

/// The name and key of a [`verifier`] line.
pub fn read_verifier(text: &str) -> Option<(String, VerifyingKey)> {
    let mut pieces = text.trim().splitn(3, '+');
    let (name, _, blob) = (pieces.next()?, pieces.next()?, pieces.next()?);
    let blob = unbase64(blob)?;
    let key = blob.strip_prefix(&[ED25519])?.try_into().ok()?;
    Some((name.to_owned(), VerifyingKey::from_bytes(key).ok()?))
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let hash = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_opens_with_its_key_and_no_other() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let checkpoint = Checkpoint { origin: "kustos/prod".to_owned(), size: 3, root: [9; 32] };
        let note = checkpoint.sign(&key);
        assert_eq!(Checkpoint::open(&note, &key.verifying_key()), Ok(checkpoint));
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
        assert_eq!(
            Checkpoint::open(&note, &other),
            Err(NoteError::Unsigned("kustos/prod".to_owned()))
        );
        let forged = note.replacen("\n3\n", "\n4\n", 1);
        assert_eq!(
            Checkpoint::open(&forged, &key.verifying_key()),
            Err(NoteError::Forged("kustos/prod".to_owned()))
        );
        let line = verifier("kustos/prod", &key.verifying_key());
        assert_eq!(read_verifier(&line), Some(("kustos/prod".to_owned(), key.verifying_key())));
    }
}
