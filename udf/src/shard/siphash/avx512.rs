//! Eight short strings at once, in the registers of AVX-512, each of which holds such a string as a whole.

use std::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_cmplt_epu64_mask, _mm512_loadu_si512, _mm512_mask_mov_epi64,
    _mm512_mask_set1_epi8, _mm512_maskz_loadu_epi8, _mm512_rol_epi64, _mm512_set1_epi64,
    _mm512_shuffle_i64x2, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi64, _mm512_xor_si512,
};

/// Strings that are hashed at once.
const LANES: usize = super::LANES;

/// The longest string whose bytes, and then its length in a byte, fit into one register.
pub(super) const MAX_BYTES: usize = 63;

/// The hashes of strings of up to [`MAX_BYTES`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn hash_all(ids: &[&[u8]; LANES]) -> [u64; LANES] {
    // Of a longer string the rest would be left out: it is for the caller to know.
    debug_assert!(ids.iter().all(|id| id.len() <= MAX_BYTES));
    let lengths = ids.map(|id| u64::try_from(id.len()).unwrap_or(u64::MAX));
    // SAFETY: `lengths` has the 64 bytes of a register.
    let lengths = unsafe { _mm512_loadu_si512(lengths.as_ptr().cast()) };
    // The place of each string's last word, which holds its length.
    let last = _mm512_srli_epi64::<3>(lengths);

    let mut state = State::new();
    let [a, b, c, d, e, f, g, h] = *ids;
    let (abcd, efgh) =
        ([padded(a), padded(b), padded(c), padded(d)], [padded(e), padded(f), padded(g), padded(h)]);
    for (place, word) in (0..).zip(transpose(abcd, efgh)) {
        let ended = _mm512_cmplt_epu64_mask(last, _mm512_set1_epi64(place));
        if ended == u8::MAX {
            break;
        }
        let before = state;
        state.take(word);
        if ended != 0 {
            state.keep(&before, ended);
        }
    }
    state.finish()
}

/// The string as SipHash takes it: its bytes, zeros up to the end of a word, and in that word's last byte its length.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn padded(id: &[u8]) -> __m512i {
    let length = id.len().min(MAX_BYTES);
    let [low, ..] = length.to_le_bytes();
    // SAFETY: a masked load touches only the bytes that its mask names, here those of the string.
    let bytes = unsafe { _mm512_maskz_loadu_epi8((1 << length) - 1, id.as_ptr().cast()) };
    _mm512_mask_set1_epi8(bytes, 1 << (length | 7), low.cast_signed())
}

/// From the words of each string to the strings' first words, their second words, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose([a, b, c, d]: [__m512i; 4], [e, f, g, h]: [__m512i; 4]) -> [__m512i; LANES] {
    let (ab, cd) = (_mm512_unpacklo_epi64(a, b), _mm512_unpacklo_epi64(c, d));
    let (ef, gh) = (_mm512_unpacklo_epi64(e, f), _mm512_unpacklo_epi64(g, h));
    let [zero, two, four, six] = quarters(ab, cd, ef, gh);
    let (ab, cd) = (_mm512_unpackhi_epi64(a, b), _mm512_unpackhi_epi64(c, d));
    let (ef, gh) = (_mm512_unpackhi_epi64(e, f), _mm512_unpackhi_epi64(g, h));
    let [one, three, five, seven] = quarters(ab, cd, ef, gh);
    [zero, one, two, three, four, five, six, seven]
}

/// From the quarters of each register to their first quarters, their second quarters, and so on.
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

/// Eight states side by side.
#[derive(Clone, Copy)]
struct State {
    v0: __m512i,
    v1: __m512i,
    v2: __m512i,
    v3: __m512i,
}

impl State {
    /// The beginning for a key of zeros.
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

    /// Takes a word of each string.
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

    /// Goes back to `before` in the lanes of strings that have `ended`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn keep(&mut self, before: &Self, ended: u8) {
        self.v0 = _mm512_mask_mov_epi64(self.v0, ended, before.v0);
        self.v1 = _mm512_mask_mov_epi64(self.v1, ended, before.v1);
        self.v2 = _mm512_mask_mov_epi64(self.v2, ended, before.v2);
        self.v3 = _mm512_mask_mov_epi64(self.v3, ended, before.v3);
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn finish(mut self) -> [u64; LANES] {
        self.v2 = _mm512_xor_si512(self.v2, _mm512_set1_epi64(0xff));
        for _ in 0..4 {
            self.round();
        }
        let one = _mm512_xor_si512(self.v0, self.v1);
        let hash = _mm512_xor_si512(one, _mm512_xor_si512(self.v2, self.v3));
        let mut hashes = [0; LANES];
        // SAFETY: `hashes` has the 64 bytes of a register.
        unsafe { _mm512_storeu_si512(hashes.as_mut_ptr().cast(), hash) };
        hashes
    }
}
