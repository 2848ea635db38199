//! Four strings of any length at once, in the registers of AVX2.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_blendv_epi8, _mm256_extract_epi64, _mm256_or_si256, _mm256_set_epi64x,
    _mm256_set1_epi64x, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64, _mm256_xor_si256,
};

use crate::shard::shard_key;

/// Strings that are hashed at once: those whose states fit side by side into the registers.
pub(super) const LANES: usize = 4;

/// Words of 8 bytes by which the longest of them may exceed the shortest; beyond that most lanes would idle.
const MAX_IDLE_WORDS: usize = 8;

/// A string in words of eight bytes.
#[derive(Clone, Copy)]
struct Text<'a> {
    words: &'a [[u8; 8]],
    /// The bytes that are left, and the length modulo 256 in the highest byte.
    last: u64,
}

impl<'a> Text<'a> {
    #[inline(always)]
    fn new(text: &'a [u8]) -> Self {
        let (words, rest) = text.as_chunks();
        let left = match (text.last_chunk(), rest.len()) {
            (_, 0) => 0,
            // Read with the whole bytes before them, and those shifted out: no copy of odd length.
            (Some(eight), rest) => u64::from_le_bytes(*eight) >> (64 - 8 * rest),
            (None, _) => rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
        };
        let [length, ..] = text.len().to_le_bytes();
        Self { words, last: left | (u64::from(length) << 56) }
    }

    #[inline(always)]
    fn word(&self, place: usize) -> i64 {
        self.words.get(place).map_or(self.last, |word| u64::from_le_bytes(*word)).cast_signed()
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn hash_all(ids: [&[u8]; LANES]) -> [u64; LANES] {
    let [a, b, c, d] = ids;
    let [a, b, c, d] = [Text::new(a), Text::new(b), Text::new(c), Text::new(d)];
    let texts = [&a, &b, &c, &d];
    let (mut least, mut most) = (usize::MAX, 0);
    for text in texts {
        (least, most) = (least.min(text.words.len()), most.max(text.words.len()));
    }
    if most.saturating_sub(least) > MAX_IDLE_WORDS {
        return ids.map(shard_key);
    }
    let mut state = State::new();
    for place in 0..least {
        state.take(words(texts, place));
    }
    for place in least..=most {
        let before = state;
        state.take(words(texts, place));
        state.keep(&before, ended(texts, place));
    }
    state.finish()
}

/// A word of each string.
#[target_feature(enable = "avx2")]
fn words([a, b, c, d]: [&Text<'_>; LANES], place: usize) -> __m256i {
    _mm256_set_epi64x(d.word(place), c.word(place), b.word(place), a.word(place))
}

/// All ones for the strings that have ended, which keep the state they ended with.
#[target_feature(enable = "avx2")]
fn ended([a, b, c, d]: [&Text<'_>; LANES], place: usize) -> __m256i {
    let ended = |text: &Text<'_>| if place > text.words.len() { -1 } else { 0 };
    _mm256_set_epi64x(ended(d), ended(c), ended(b), ended(a))
}

/// Four states side by side.
#[derive(Clone, Copy)]
struct State {
    v0: __m256i,
    v1: __m256i,
    v2: __m256i,
    v3: __m256i,
}

impl State {
    /// The beginning for a key of zeros.
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Self {
            v0: _mm256_set1_epi64x(0x736f_6d65_7073_6575),
            v1: _mm256_set1_epi64x(0x646f_7261_6e64_6f6d),
            v2: _mm256_set1_epi64x(0x6c79_6765_6e65_7261),
            v3: _mm256_set1_epi64x(0x7465_6462_7974_6573),
        }
    }

    /// Takes a word of each string.
    #[target_feature(enable = "avx2")]
    fn take(&mut self, word: __m256i) {
        self.v3 = _mm256_xor_si256(self.v3, word);
        self.round();
        self.round();
        self.v0 = _mm256_xor_si256(self.v0, word);
    }

    #[target_feature(enable = "avx2")]
    fn round(&mut self) {
        self.v0 = _mm256_add_epi64(self.v0, self.v1);
        self.v1 = _mm256_xor_si256(rotate::<13, 51>(self.v1), self.v0);
        self.v0 = swap_halves(self.v0);
        self.v2 = _mm256_add_epi64(self.v2, self.v3);
        self.v3 = _mm256_xor_si256(rotate::<16, 48>(self.v3), self.v2);
        self.v0 = _mm256_add_epi64(self.v0, self.v3);
        self.v3 = _mm256_xor_si256(rotate::<21, 43>(self.v3), self.v0);
        self.v2 = _mm256_add_epi64(self.v2, self.v1);
        self.v1 = _mm256_xor_si256(rotate::<17, 47>(self.v1), self.v2);
        self.v2 = swap_halves(self.v2);
    }

    /// Goes back to `before` in the lanes that `ended` fills with ones.
    #[target_feature(enable = "avx2")]
    fn keep(&mut self, before: &Self, ended: __m256i) {
        self.v0 = _mm256_blendv_epi8(self.v0, before.v0, ended);
        self.v1 = _mm256_blendv_epi8(self.v1, before.v1, ended);
        self.v2 = _mm256_blendv_epi8(self.v2, before.v2, ended);
        self.v3 = _mm256_blendv_epi8(self.v3, before.v3, ended);
    }

    #[target_feature(enable = "avx2")]
    fn finish(mut self) -> [u64; LANES] {
        self.v2 = _mm256_xor_si256(self.v2, _mm256_set1_epi64x(0xff));
        for _ in 0..4 {
            self.round();
        }
        let one = _mm256_xor_si256(self.v0, self.v1);
        let hash = _mm256_xor_si256(one, _mm256_xor_si256(self.v2, self.v3));
        [
            _mm256_extract_epi64::<0>(hash).cast_unsigned(),
            _mm256_extract_epi64::<1>(hash).cast_unsigned(),
            _mm256_extract_epi64::<2>(hash).cast_unsigned(),
            _mm256_extract_epi64::<3>(hash).cast_unsigned(),
        ]
    }
}

/// Left by `LEFT` bits; `RIGHT` is what is missing to 64.
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(lanes: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi64::<LEFT>(lanes), _mm256_srli_epi64::<RIGHT>(lanes))
}

/// Left by 32 bits.
#[target_feature(enable = "avx2")]
fn swap_halves(lanes: __m256i) -> __m256i {
    _mm256_shuffle_epi32::<0b10_11_00_01>(lanes)
}
