//! SipHash of two groups of eight short strings at once with AVX-512.
//!
//! A register holds a whole string of up to [`MAX_BYTES`]. The steps of one group depend on each
//! other, and steps of the other group fill the gaps.
//!
//! The module exists because `shardKey` misses its goal with AVX2 alone: 0.9 of the speed of a
//! function that answers zeros (the benchmark `udf_shard_key_vs_noop`). Four runs of its queries,
//! both variants and the noop in turn, 15 to 60 times, on a busy machine with two cores printed
//! 0.84, 0.85, 0.86 and 0.87 without it, and 0.90, 0.95, 0.99 and 1.00 with it (medians of the
//! ratios of neighbouring queries, 2026-11-29). Delete it once the benchmark stays at 0.9 or above
//! without it.

use std::arch::x86_64::{
    __m512i, __mmask8, __mmask64, _bzhi_u64, _mm512_add_epi64, _mm512_cmpeq_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_loadu_si512, _mm512_mask_mov_epi64, _mm512_mask_or_epi64,
    _mm512_maskz_loadu_epi8, _mm512_or_si512, _mm512_rol_epi64, _mm512_set1_epi64, _mm512_shuffle_i64x2,
    _mm512_slli_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
    _mm512_xor_si512,
};

use super::{GROUP, TwoRuns};

/// Longest string whose bytes fit into one register together with the length byte.
pub(super) const MAX_BYTES: usize = 63;

/// Whether this processor has the features that [`hash_all`] needs.
pub(super) fn is_there() -> bool {
    std::arch::is_x86_feature_detected!("avx512bw") && std::arch::is_x86_feature_detected!("bmi2")
}

/// Returns the hashes of strings of equal length.
///
/// # Safety
/// The length must be at most [`MAX_BYTES`].
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
pub(super) unsafe fn hash_alike(ids: &TwoRuns<'_>) -> [[u64; GROUP]; 2] {
    let (length, start) = (usize::from(ids.length()), ids.bytes().as_ptr());
    let mask = first_bytes(length);
    // SAFETY: the strings lie side by side, each after its length byte, and the mask selects only
    // the bytes of one string.
    let text = |place| unsafe { _mm512_maskz_loadu_epi8(mask, start.add(place * (1 + length) + 1).cast()) };
    let these = transpose([text(0), text(1), text(2), text(3), text(4), text(5), text(6), text(7)]);
    let those = transpose([text(8), text(9), text(10), text(11), text(12), text(13), text(14), text(15)]);
    let mut states = (Avx512State::new(), Avx512State::new());
    let mut words = these.iter().zip(&those);
    for (this, that) in words.by_ref().take(length / size_of::<u64>()) {
        states.0.take(*this);
        states.1.take(*that);
    }
    if let Some((this, that)) = words.next() {
        let length = _mm512_slli_epi64::<56>(_mm512_set1_epi64(ids.length().into()));
        states.0.take(_mm512_or_si512(*this, length));
        states.1.take(_mm512_or_si512(*that, length));
    }
    [states.0.finish(), states.1.finish()]
}

/// Returns the hashes; `None` if a string is longer than [`MAX_BYTES`].
#[target_feature(enable = "avx512f,avx512bw,bmi2")]
pub(super) fn hash_all(ids: &[[&[u8]; GROUP]; 2]) -> Option<[[u64; GROUP]; 2]> {
    let (mut all, mut any) = (usize::MAX, 0);
    for id in ids.as_flattened() {
        (all, any) = (all & id.len(), any | id.len());
    }
    if any > MAX_BYTES {
        return None;
    }
    // No string ends in a word before `first_end` or after `last_end`.
    let (first_end, last_end) = (all / size_of::<u64>(), any / size_of::<u64>());
    let [these, those] = ids;
    let (these, those) = (Avx512Strings::new(these), Avx512Strings::new(those));
    let mut states = (Avx512State::new(), Avx512State::new());
    let mut words = (0..).zip(these.words.iter().zip(&those.words)).take(last_end + 1);
    for (_, (this, that)) in words.by_ref().take(first_end) {
        states.0.take(*this);
        states.1.take(*that);
    }
    for (place, (this, that)) in words {
        these.take_ends(&mut states.0, *this, place);
        those.take_ends(&mut states.1, *that, place);
    }
    Some([states.0.finish(), states.1.finish()])
}

/// A group of strings, transposed into words.
struct Avx512Strings {
    /// First words of all strings, then their second words, and so on, zero-padded.
    words: [__m512i; GROUP],
    /// Index of each string's last word.
    last: __m512i,
    /// Length of each string at SipHash's position: the highest byte of the last word.
    lengths: __m512i,
}

impl Avx512Strings {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,bmi2")]
    fn new(ids: &[&[u8]; GROUP]) -> Self {
        let lengths = ids.map(|id| u64::try_from(id.len()).unwrap_or(u64::MAX));
        // SAFETY: `lengths` has the 64 bytes of a register.
        let lengths = unsafe { _mm512_loadu_si512(lengths.as_ptr().cast()) };
        let (last, lengths) = (_mm512_srli_epi64::<3>(lengths), _mm512_slli_epi64::<56>(lengths));
        let [a, b, c, d, e, f, g, h] = *ids;
        let texts = [padded(a), padded(b), padded(c), padded(d), padded(e), padded(f), padded(g), padded(h)];
        Self { words: transpose(texts), last, lengths }
    }

    /// Feeds `state` the words at `place`, where some strings may end and others have ended.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn take_ends(&self, state: &mut Avx512State, word: __m512i, place: i64) {
        let place = _mm512_set1_epi64(place);
        let end = _mm512_cmpeq_epu64_mask(self.last, place);
        let before = *state;
        state.take(_mm512_mask_or_epi64(word, end, word, self.lengths));
        state.keep(&before, _mm512_cmplt_epu64_mask(self.last, place));
    }
}

/// Returns the bytes of a string, zero-padded to a register.
#[inline]
#[target_feature(enable = "avx512bw,bmi2")]
fn padded(id: &[u8]) -> __m512i {
    // SAFETY: a masked load touches only the bytes in its mask, and these belong to the string.
    unsafe { _mm512_maskz_loadu_epi8(first_bytes(id.len()), id.as_ptr().cast()) }
}

/// Returns a mask of the first `count` bytes of a register. Only the lowest byte of `count` is
/// used.
#[inline]
#[target_feature(enable = "bmi2")]
fn first_bytes(count: usize) -> __mmask64 {
    let [count, ..] = count.to_le_bytes();
    _bzhi_u64(u64::MAX, count.into())
}

/// Transposes the words of each string into all first words, all second words, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d, e, f, g, h]: [__m512i; GROUP]) -> [__m512i; GROUP] {
    let (ab, cd) = (_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d));
    let (ef, gh) = (_mm512_unpacklo_epi64(e, f), _mm512_unpacklo_epi64(g, h));
    let [zero, two, four, six] = quarters(ab, cd, ef, gh);
    let (ab, cd) = (_mm512_unpackhi_epi64(a, b), _mm512_unpackhi_epi64(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi64(e, f), _mm512_unpackhi_epi64(g, h));
    let [one, three, five, seven] = quarters(ab, cd, ef, gh);
    [zero, one, two, three, four, five, six, seven]
}

/// Transposes the quarters of each register into all first quarters, all second quarters, and so
/// on.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(a: __m512i, b: __m512i, c: __m512i, d: __m512i) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (even, odd) = (_mm512_shuffle_i64x2::<EVEN>(a, b), _mm512_shuffle_i64x2::<ODD>(a, b));
    let (more_even, more_odd) = (_mm512_shuffle_i64x2::<EVEN>(c, d), _mm512_shuffle_i64x2::<ODD>(c, d));
    [
        _mm512_shuffle_i64x2::<EVEN>(even, more_even),
        _mm512_shuffle_i64x2::<EVEN>(odd, more_odd),
        _mm512_shuffle_i64x2::<ODD>(even, more_even),
        _mm512_shuffle_i64x2::<ODD>(odd, more_odd),
    ]
}

/// Eight SipHash states side by side.
#[derive(Clone, Copy)]
struct Avx512State {
    v0: __m512i,
    v1: __m512i,
    v2: __m512i,
    v3: __m512i,
}

impl Avx512State {
    /// Initial state for a zero key.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new() -> Self {
        Self {
            v0: _mm512_set1_epi64(0x736f_6d65_7073_6575),
            v1: _mm512_set1_epi64(0x646f_7261_6e64_6f6d),
            v2: _mm512_set1_epi64(0x6c79_6765_6e65_7261),
            v3: _mm512_set1_epi64(0x7465_6462_7974_6573),
        }
    }

    /// Feeds one word of each string.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn take(&mut self, word: __m512i) {
        self.v3 = _mm512_xor_si512(self.v3, word);
        self.round();
        self.round();
        self.v0 = _mm512_xor_si512(self.v0, word);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn round(&mut self) {
        self.v0 = _mm512_add_epi64(self.v0, self.v1);
        self.v1 = _mm512_xor_si512(_mm512_rol_epi64::<13>(self.v1), self.v0);
        self.v0 = _mm512_rol_epi64::<32>(self.v0);
        self.v2 = _mm512_add_epi64(self.v2, self.v3);
        self.v3 = _mm512_xor_si512(_mm512_rol_epi64::<16>(self.v3), self.v2);
        self.v0 = _mm512_add_epi64(self.v0, self.v3);
        self.v3 = _mm512_xor_si512(_mm512_rol_epi64::<21>(self.v3), self.v0);
        self.v2 = _mm512_add_epi64(self.v2, self.v1);
        self.v1 = _mm512_xor_si512(_mm512_rol_epi64::<17>(self.v1), self.v2);
        self.v2 = _mm512_rol_epi64::<32>(self.v2);
    }

    /// Restores `before` in the lanes of strings that have `ended`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn keep(&mut self, before: &Self, ended: __mmask8) {
        self.v0 = _mm512_mask_mov_epi64(self.v0, ended, before.v0);
        self.v1 = _mm512_mask_mov_epi64(self.v1, ended, before.v1);
        self.v2 = _mm512_mask_mov_epi64(self.v2, ended, before.v2);
        self.v3 = _mm512_mask_mov_epi64(self.v3, ended, before.v3);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn finish(mut self) -> [u64; GROUP] {
        self.v2 = _mm512_xor_si512(self.v2, _mm512_set1_epi64(0xff));
        for _ in 0..4 {
            self.round();
        }
        let one = _mm512_xor_si512(self.v0, self.v1);
        let hash = _mm512_xor_si512(one, _mm512_xor_si512(self.v2, self.v3));
        let mut hashes = [0; GROUP];
        // SAFETY: `hashes` has the 64 bytes of a register.
        unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash) };
        hashes
    }
}
