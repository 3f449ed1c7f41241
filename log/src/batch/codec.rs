//! Compressing and decompressing bodies, with contexts and buffers that are reused.
//!
//! LZ4 is one raw block and Zstandard one frame; the uncompressed length stands in the header and
//! is limited there, so a decompressor writes into a buffer of exactly that length and a bomb has
//! nowhere to go off. Rejected: the LZ4 frame format, whose own lengths and checksums say the same
//! things a second time.

use super::header::Codec;
use super::{Batch, BatchError, Buffer, HEADER_BYTES, MutableBuffer, Rows};

/// Level of Zstandard: its default, about 0.4 GB/s per core.
const ZSTD_LEVEL: i32 = 3;

/// Compresses bodies. Keeps the context of Zstandard between batches.
#[derive(Default)]
pub(super) struct Compressor {
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Compressor {
    /// Appends `plain` compressed to `out`, or returns false and leaves `out` as it was if there is
    /// no codec, if it fails or if the result is not smaller.
    pub(super) fn compress(&mut self, codec: Codec, plain: &[u8], out: &mut Vec<u8>) -> bool {
        let bound = match codec {
            Codec::None => return false,
            Codec::Lz4 => lz4_flex::block::get_maximum_output_size(plain.len()),
            Codec::Zstd => zstd::zstd_safe::compress_bound(plain.len()),
        };
        let start = out.len();
        out.resize(start + bound, 0);
        let len = match codec {
            Codec::None => None,
            // Neither can fail for lack of room; what else fails is met by storing the body plain.
            Codec::Lz4 => lz4_flex::block::compress_into(plain, &mut out[start..]).ok(),
            Codec::Zstd => self.zstd(plain, &mut out[start..]),
        };
        let len = len.filter(|len| *len < plain.len());
        out.truncate(start + len.unwrap_or(0));
        len.is_some()
    }

    /// Compresses with Zstandard into `out` and returns the length, or `None` if it fails.
    fn zstd(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        if self.zstd.is_none() {
            // Fails only without memory for the context; the body is then stored plain.
            self.zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        self.zstd.as_mut()?.compress_to_buffer(plain, out).ok()
    }
}

/// Opens bodies. Keeps a buffer and the context of Zstandard between batches, so that reading
/// compressed batches one after another allocates nothing.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decoder {
    /// A decoder without any buffer yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The uncompressed body of a batch: the stored bytes themselves without a codec, otherwise
    /// decompressed into the buffer of this decoder, which the next call reuses. Does not verify.
    ///
    /// # Errors
    /// [`BatchError::CodecFailed`] or [`BatchError::Length`] if the body is not what the header says.
    pub fn body<'s>(&'s mut self, batch: &Batch<'s>) -> Result<&'s [u8], BatchError> {
        if batch.header().codec == Codec::None {
            return Ok(batch.stored_body());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(batch.header().uncompressed_len as usize, 0);
        let outcome = self.decompress(batch, &mut buffer);
        self.buffer = buffer;
        outcome.map(|()| self.buffer.as_slice())
    }

    /// The rows of a batch, over [`Decoder::body`]. Does not verify checksums.
    ///
    /// # Errors
    /// As [`Decoder::body`] and [`Rows::open`].
    pub fn rows<'s>(&'s mut self, batch: &Batch<'s>) -> Result<Rows<'s>, BatchError> {
        Rows::open(batch.header(), self.body(batch)?)
    }

    /// The uncompressed body of the batch that `bytes` is, as a buffer of its own: without a codec a
    /// slice that shares `bytes`, otherwise newly allocated and aligned.
    pub(super) fn shared_body(
        &mut self,
        batch: &Batch<'_>,
        bytes: &Buffer,
    ) -> Result<Buffer, BatchError> {
        let header = batch.header();
        if header.codec == Codec::None {
            return Ok(bytes.slice_with_length(HEADER_BYTES, header.body_len as usize));
        }
        let mut buffer = MutableBuffer::from_len_zeroed(header.uncompressed_len as usize);
        self.decompress(batch, buffer.as_slice_mut())?;
        Ok(buffer.into())
    }

    /// Decompresses the body into `out`, which has exactly the length that the header says.
    fn decompress(&mut self, batch: &Batch<'_>, out: &mut [u8]) -> Result<(), BatchError> {
        let (codec, stored, expected) = (batch.header().codec, batch.stored_body(), out.len());
        let failed = BatchError::CodecFailed { codec: codec.name() };
        let found = match codec {
            Codec::None => unreachable!("a body without codec is shared, not decompressed"),
            Codec::Lz4 => lz4_flex::block::decompress_into(stored, out).map_err(|_| failed)?,
            Codec::Zstd => {
                if self.zstd.is_none() {
                    self.zstd = Some(zstd::bulk::Decompressor::new().map_err(|_| failed)?);
                }
                let zstd = self.zstd.as_mut().expect("it was made above");
                zstd.decompress_to_buffer(stored, out).map_err(|_| failed)?
            }
        };
        if found == expected { Ok(()) } else { Err(BatchError::Length { expected, found }) }
    }
}
