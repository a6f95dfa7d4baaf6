//! A cursor over JSON text that checks the grammar of RFC 8259 and builds nothing.
//!
//! It gives the verdict `serde_json` gives, but has no limit on depth: what is open is a
//! stack of bits, so ten thousand levels cost ten thousand bits.

use crate::event::short_run;

/// Where the cursor stands. `None` from any method: the text is not JSON.
pub(super) struct Scan<'a> {
    bytes: &'a [u8],
    /// Offset of the next byte.
    pub(super) at: usize,
}

/// The containers that are open: one bit each, set for an object.
#[derive(Default)]
struct Open {
    depth: u32,
    bits: u64,
    /// Filled words, for text more than 64 levels deep.
    spilled: Vec<u64>,
}

impl Open {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(u64::BITS) {
            self.spilled.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(object);
        self.depth += 1;
    }

    fn pop(&mut self) {
        self.bits >>= 1;
        self.depth -= 1;
        if self.depth > 0 && self.depth.is_multiple_of(u64::BITS) {
            self.bits = self.spilled.pop().unwrap_or(0);
        }
    }

    fn in_object(&self) -> bool {
        self.bits & 1 == 1
    }
}

impl<'a> Scan<'a> {
    pub(super) fn new(text: &'a str) -> Scan<'a> {
        Scan { bytes: text.as_bytes(), at: 0 }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Passes white space.
    #[inline]
    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Passes that byte, or fails.
    #[inline]
    pub(super) fn pass(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Passes a string that begins here; gives what is between its quotes.
    ///
    /// Control bytes are not looked for: `line` has done it for the whole text.
    #[inline]
    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        self.pass(b'"')?;
        let start = self.at;
        loop {
            self.at += short_run(self.bytes.get(self.at..)?)?;
            if self.peek()? == b'"' {
                let inner = self.bytes.get(start..self.at)?;
                self.at += 1;
                return Some(inner);
            }
            self.escape()?;
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let hex = self.bytes.get(self.at + 2..self.at + 6)?;
                if !hex.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    /// Passes any value that begins here.
    pub(super) fn value(&mut self) -> Option<()> {
        match self.peek()? {
            b'{' | b'[' => self.container(),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => self.string().map(drop),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(word).then(|| self.at += word.len())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|it| it.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    /// Passes the object or array that begins here, however deep, without recursion.
    fn container(&mut self) -> Option<()> {
        let mut open = Open::default();
        loop {
            // Here a value begins.
            match self.peek()? {
                first @ (b'{' | b'[') => {
                    let object = first == b'{';
                    self.at += 1;
                    self.space();
                    open.push(object);
                    if self.peek()? != closing(object) {
                        if object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // Here a value, or an empty container, has ended.
            if self.close(&mut open)? {
                return Some(());
            }
        }
    }

    /// Passes what follows a value up to the next one; true when nothing is open any more.
    fn close(&mut self, open: &mut Open) -> Option<bool> {
        loop {
            self.space();
            if self.peek()? == b',' {
                self.at += 1;
                self.space();
                if open.in_object() {
                    self.key()?;
                }
                return Some(false);
            }
            self.pass(closing(open.in_object()))?;
            open.pop();
            if open.depth == 0 {
                return Some(true);
            }
        }
    }

    /// Passes a key and its colon; gives the key as it is written.
    #[inline]
    pub(super) fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.string()?;
        self.space();
        self.pass(b':')?;
        self.space();
        Some(key)
    }
}

fn closing(object: bool) -> u8 {
    if object { b'}' } else { b']' }
}
