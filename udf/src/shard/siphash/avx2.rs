//! SipHash of two groups of four strings at once with AVX2.
//!
//! Strings may have any length. The steps of one group depend on each other, and steps of the other
//! group fill the gaps.

use std::arch::x86_64::{
    __m256i, _mm256_add_epi64, _mm256_blendv_epi8, _mm256_loadu_si256, _mm256_loadu2_m128i, _mm256_or_si256,
    _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
};
use std::hint::select_unpredictable;

use super::GROUP;
use crate::shard::shard_key;

/// Number of strings whose states fit side by side into one register.
const LANES: usize = 4;

/// Bytes of a word.
const WORD: usize = size_of::<u64>();

/// Limit in words by which the longest string may exceed the shortest. Above it most lanes would
/// idle.
const MAX_IDLE_WORDS: usize = 8;

/// Returns the hashes of strings of any length.
#[target_feature(enable = "avx2")]
pub(super) fn hash_all(ids: &[&[u8]; GROUP]) -> [u64; GROUP] {
    let (mut least, mut most) = (usize::MAX, 0);
    for id in ids {
        (least, most) = (least.min(id.len() / WORD), most.max(id.len() / WORD));
    }
    if most.saturating_sub(least) > MAX_IDLE_WORDS {
        return ids.map(shard_key);
    }
    let [a, b, c, d, e, f, g, h] = *ids;
    let (these, those) = (Avx2Strings::new([a, b, c, d]), Avx2Strings::new([e, f, g, h]));
    let mut states = (Avx2State::new(), Avx2State::new());
    for place in (0..least / 2 * 2).step_by(2) {
        // SAFETY: each string has at least `least` whole words.
        let (this, that) = unsafe { (these.two_words(place), those.two_words(place)) };
        states.0.take(this.0);
        states.1.take(that.0);
        states.0.take(this.1);
        states.1.take(that.1);
    }
    if least % 2 == 1 {
        states.0.take(these.words(least - 1));
        states.1.take(those.words(least - 1));
    }
    if least == most {
        states.0.take(these.last_words());
        states.1.take(those.last_words());
    } else {
        for place in least..=most {
            these.take_ends(&mut states.0, place);
            those.take_ends(&mut states.1, place);
        }
    }
    let ([a, b, c, d], [e, f, g, h]) = (states.0.finish(), states.1.finish());
    [a, b, c, d, e, f, g, h]
}

/// A group of strings, each split into its whole words and a last word.
struct Avx2Strings<'a> {
    texts: [&'a [u8]; LANES],
    last: [u64; LANES],
}

impl<'a> Avx2Strings<'a> {
    #[inline(always)]
    fn new(texts: [&'a [u8]; LANES]) -> Self {
        let [a, b, c, d] = texts;
        Self { texts, last: [last_word(a), last_word(b), last_word(c), last_word(d)] }
    }

    /// Returns the words of each string at `place` and `place + 1`.
    ///
    /// # Safety
    /// Both must be whole words in every string.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn two_words(&self, place: usize) -> (__m256i, __m256i) {
        let start = place * WORD;
        let [a, b, c, d] = &self.texts;
        // SAFETY: the caller guarantees these 16 bytes of each string, half a register.
        let (ac, bd) = unsafe {
            (
                _mm256_loadu2_m128i(c.as_ptr().add(start).cast(), a.as_ptr().add(start).cast()),
                _mm256_loadu2_m128i(d.as_ptr().add(start).cast(), b.as_ptr().add(start).cast()),
            )
        };
        (_mm256_unpacklo_epi64(ac, bd), _mm256_unpackhi_epi64(ac, bd))
    }

    /// Returns the word of each string at `place`, or its last word if the string ends earlier.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn words(&self, place: usize) -> __m256i {
        let ([a, b, c, d], [i, j, k, l]) = (self.texts, self.last);
        _mm256_set_epi64x(word(d, place, l), word(c, place, k), word(b, place, j), word(a, place, i))
    }

    /// Returns the last word of each string.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn last_words(&self) -> __m256i {
        // SAFETY: `last` has the 32 bytes of a register.
        unsafe { _mm256_loadu_si256(self.last.as_ptr().cast()) }
    }

    /// Feeds `state` the words at `place`, where some strings may end and others have ended.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn take_ends(&self, state: &mut Avx2State, place: usize) {
        let [a, b, c, d] = self.texts;
        let before = *state;
        state.take(self.words(place));
        state.keep(
            &before,
            _mm256_set_epi64x(ended(d, place), ended(c, place), ended(b, place), ended(a, place)),
        );
    }
}

/// Returns the bytes after the last whole word, with the length modulo 256 in the highest byte.
#[inline(always)]
fn last_word(text: &[u8]) -> u64 {
    let left = match text.last_chunk() {
        // Reads the last 8 bytes and shifts out the part that belongs to whole words, which avoids
        // a copy of odd length.
        Some(eight) => u64::from_le_bytes(*eight) >> 1 >> (63 - 8 * (text.len() % WORD)),
        None => text.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    };
    let [length, ..] = text.len().to_le_bytes();
    left | (u64::from(length) << 56)
}

/// Returns the whole word at `place`, or `last` if the string has none there.
#[inline(always)]
fn word(text: &[u8], place: usize, last: u64) -> i64 {
    // Always reads a word, because branches on the end of a string are hard to predict.
    let start = (place * WORD).min(text.len().saturating_sub(WORD));
    let word = text.get(start..).and_then(|rest| rest.first_chunk());
    let word = word.map_or(last, |word| u64::from_le_bytes(*word));
    select_unpredictable(place < text.len() / WORD, word, last).cast_signed()
}

/// Returns all ones if the string has no word at `place`.
#[inline(always)]
fn ended(text: &[u8], place: usize) -> i64 {
    if place > text.len() / WORD { -1 } else { 0 }
}

/// Four SipHash states side by side.
#[derive(Clone, Copy)]
struct Avx2State {
    v0: __m256i,
    v1: __m256i,
    v2: __m256i,
    v3: __m256i,
}

impl Avx2State {
    /// Initial state for a zero key.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new() -> Self {
        Self {
            v0: _mm256_set1_epi64x(0x736f_6d65_7073_6575),
            v1: _mm256_set1_epi64x(0x646f_7261_6e64_6f6d),
            v2: _mm256_set1_epi64x(0x6c79_6765_6e65_7261),
            v3: _mm256_set1_epi64x(0x7465_6462_7974_6573),
        }
    }

    /// Feeds one word of each string.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn take(&mut self, word: __m256i) {
        self.v3 = _mm256_xor_si256(self.v3, word);
        self.round();
        self.round();
        self.v0 = _mm256_xor_si256(self.v0, word);
    }

    #[inline]
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

    /// Restores `before` in the lanes where `ended` is all ones.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn keep(&mut self, before: &Self, ended: __m256i) {
        self.v0 = _mm256_blendv_epi8(self.v0, before.v0, ended);
        self.v1 = _mm256_blendv_epi8(self.v1, before.v1, ended);
        self.v2 = _mm256_blendv_epi8(self.v2, before.v2, ended);
        self.v3 = _mm256_blendv_epi8(self.v3, before.v3, ended);
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn finish(mut self) -> [u64; LANES] {
        self.v2 = _mm256_xor_si256(self.v2, _mm256_set1_epi64x(0xff));
        for _ in 0..4 {
            self.round();
        }
        let one = _mm256_xor_si256(self.v0, self.v1);
        let hash = _mm256_xor_si256(one, _mm256_xor_si256(self.v2, self.v3));
        let mut hashes = [0; LANES];
        // SAFETY: `hashes` has the 32 bytes of a register.
        unsafe { _mm256_storeu_si256(hashes.as_mut_ptr().cast(), hash) };
        hashes
    }
}

/// Rotates left by `LEFT` bits; `RIGHT` is `64 - LEFT`.
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(lanes: __m256i) -> __m256i {
    _mm256_or_si256(_mm256_slli_epi64::<LEFT>(lanes), _mm256_srli_epi64::<RIGHT>(lanes))
}

/// Rotates left by 32 bits.
#[target_feature(enable = "avx2")]
fn swap_halves(lanes: __m256i) -> __m256i {
    _mm256_shuffle_epi32::<0b10_11_00_01>(lanes)
}
