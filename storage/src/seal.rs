//! Closes a segment: writes its footer and trailer, cuts it to its true length, and makes it
//! durable. The writer's segments and recovered ones are sealed alike.

use crate::Error;
use crate::disk::{Disk, DiskFile, FileId};
use crate::format::index::SegmentIndex;
use crate::format::{BLOCK, Footer, FooterHead, FormatError, Trailer, decode_head, encode_footer};
use std::path::Path;

/// The most that is read at once; a footer's head is far smaller.
const HEAD_BYTES_MAX: u64 = 256 << 20;

/// Writes the footer at `footer.offset`, truncates the file after it and makes it durable.
/// `expected` is the file that was written or scanned: another file of this name is not touched.
///
/// # Errors
/// It is another file, or cannot be written; it stays as recoverable as it was.
pub(crate) fn seal(
    disk: &dyn Disk,
    path: &Path,
    expected: FileId,
    footer: &Footer,
    index: &SegmentIndex,
) -> Result<(FooterHead, Trailer), Error> {
    let (bytes, head, trailer) = encode_footer(footer, index);
    let file = disk.open_write(path).map_err(Error::io("open", path))?;
    if file.id().map_err(Error::io("look at", path))? != expected {
        return Err(Error::OtherFile {
            path: path.to_owned(),
        });
    }
    file.write_all_at(&bytes, footer.offset)
        .map_err(Error::io("write the footer of", path))?;
    file.set_bytes(trailer.file_bytes())
        .map_err(Error::io("cut", path))?;
    file.sync().map_err(Error::io("sync", path))?;
    Ok((head, trailer))
}

/// Whether a segment is sealed, and the contents of its footer.
pub(crate) enum Sealed {
    Yes(Trailer, FooterHead),
    /// No footer, or one that cannot be trusted: the segment has to be scanned.
    No(FormatError),
}

/// Reads trailer and footer head.
///
/// # Errors
/// The file cannot be read, or is of a newer version.
pub(crate) fn read_sealed(file: &dyn DiskFile, path: &Path) -> Result<Sealed, Error> {
    let file_bytes = file.bytes().map_err(Error::io("read", path))?;
    match read_footer(file, path, file_bytes)? {
        Ok((trailer, head)) => Ok(Sealed::Yes(trailer, head)),
        Err(source @ FormatError::Version { .. }) => Err(Error::Format {
            path: path.to_owned(),
            source,
        }),
        Err(reason) => Ok(Sealed::No(reason)),
    }
}

fn read_footer(
    file: &dyn DiskFile,
    path: &Path,
    file_bytes: u64,
) -> Result<Result<(Trailer, FooterHead), FormatError>, Error> {
    let short = FormatError::Short { what: "segment" };
    let Some(trailer_at) = file_bytes.checked_sub(BLOCK).filter(|at| *at >= BLOCK) else {
        return Ok(Err(short));
    };
    let mut block = vec![0; BLOCK as usize];
    file.read_exact_at(&mut block, trailer_at)
        .map_err(Error::io("read the trailer of", path))?;
    let trailer = match Trailer::decode(&block, file_bytes) {
        Ok(trailer) if trailer.head_bytes <= HEAD_BYTES_MAX => trailer,
        Ok(_) => {
            return Ok(Err(FormatError::Invalid {
                what: "segment trailer",
            }));
        }
        Err(error) => return Ok(Err(error)),
    };
    let mut head = vec![0; trailer.head_bytes as usize];
    file.read_exact_at(&mut head, trailer.footer_offset)
        .map_err(Error::io("read the footer of", path))?;
    Ok(decode_head(&trailer, &head).map(|head| (trailer, head)))
}
