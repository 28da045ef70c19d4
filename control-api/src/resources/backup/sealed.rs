//! A backup as bytes: sealed with a passphrase. `docs/disaster.md` documents the format for readers
//! who must open one by other means.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `HFBACKUP` |
//! | 8 | 2 | version of the format, little-endian: 1 |
//! | 10 | 4 | rounds of PBKDF2, little-endian |
//! | 14 | 16 | salt |
//! | 30 | 12 | nonce |
//! | 42 | 16 | identifies the passphrase |
//! | 58 | n | contents as JSON, by AES-256-GCM, its tag (16 bytes) last; all before this is authenticated with it |
//! | 58 + n | 4 | CRC-32 of all before, little-endian: so damage is distinguished from a wrong passphrase |
//!
//! PBKDF2-HMAC-SHA256 (RFC 8018) derives a secret of 32 bytes from passphrase and salt; from that
//! HKDF-SHA256's expansion (RFC 5869) derives the key, with the info `holdfast backup key`, and the
//! passphrase's identification, with `holdfast backup check`.

use crate::limits::{BACKUP_BYTES_MAX, PASSPHRASE_BYTES_MAX, PASSPHRASE_CHARS_MIN};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::pbkdf2::{PBKDF2_HMAC_SHA256, derive};
use aws_lc_rs::rand;
use holdfast_consensus::model::Secret;
use std::num::NonZeroU32;

const MAGIC: &[u8; 8] = b"HFBACKUP";
const VERSION: u16 = 1;
/// OWASP's recommendation for PBKDF2-HMAC-SHA256 (2023).
const ROUNDS: u32 = 600_000;
/// More rounds would keep a node busy for minutes with one request.
const ROUNDS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 16;
const HEADER_BYTES: usize = 8 + 2 + 4 + SALT_BYTES + NONCE_LEN + CHECK_BYTES;
const CRC_BYTES: usize = 4;
/// The bytes that AES-GCM adds.
const TAG_BYTES: usize = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SealError {
    #[error(
        "the passphrase has {0} characters; use {PASSPHRASE_CHARS_MIN} or more, and at most \
         {PASSPHRASE_BYTES_MAX} bytes"
    )]
    WeakPassphrase(usize),
    #[error("the configuration is {0} bytes long; a backup holds {BACKUP_BYTES_MAX}")]
    TooLarge(usize),
    #[error("the machine gives no random numbers")]
    NoRandomness,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("this is no backup of a Holdfast configuration: it does not begin as one")]
    NoBackup,
    #[error(
        "this backup is of version {0} of the format, and this release reads version {VERSION}; \
         upgrade"
    )]
    Newer(u16),
    #[error("the backup is damaged: its checksum does not match. Use another copy of it")]
    Damaged,
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    #[error(
        "the backup was changed on purpose since it was made: its seal is broken. Use another copy \
         of it"
    )]
    Forged,
}

/// Takes a third of a second of one core.
pub(crate) fn seal(contents: &[u8], passphrase: &Secret) -> Result<Vec<u8>, SealError> {
    let chars = passphrase.0.chars().count();
    if chars < PASSPHRASE_CHARS_MIN || passphrase.0.len() > PASSPHRASE_BYTES_MAX {
        return Err(SealError::WeakPassphrase(chars));
    }
    let bytes = HEADER_BYTES + contents.len() + TAG_BYTES + CRC_BYTES;
    if bytes > BACKUP_BYTES_MAX {
        return Err(SealError::TooLarge(bytes));
    }
    let (mut salt, mut nonce) = ([0; SALT_BYTES], [0; NONCE_LEN]);
    rand::fill(&mut salt)
        .and_then(|()| rand::fill(&mut nonce))
        .map_err(|Unspecified| SealError::NoRandomness)?;
    seal_with(contents, passphrase, ROUNDS, (salt, nonce))
        .map_err(|Unspecified| SealError::TooLarge(bytes))
}

fn seal_with(
    contents: &[u8],
    passphrase: &Secret,
    rounds: u32,
    (salt, nonce): ([u8; SALT_BYTES], [u8; NONCE_LEN]),
) -> Result<Vec<u8>, Unspecified> {
    let Keys { key, check } = Keys::of(passphrase, &salt, rounds)?;
    let version = VERSION.to_le_bytes();
    let header = [
        MAGIC,
        version.as_slice(),
        &rounds.to_le_bytes(),
        &salt,
        &nonce,
        &check,
    ]
    .concat();
    let mut sealed = contents.to_vec();
    key.seal_in_place_append_tag(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(&header),
        &mut sealed,
    )?;
    let mut backup = [header, sealed].concat();
    backup.extend(crc32fast::hash(&backup).to_le_bytes());
    Ok(backup)
}

/// Takes as long as [`seal`], unless it fails before the passphrase is used.
pub(crate) fn open(backup: &[u8], passphrase: &Secret) -> Result<Vec<u8>, OpenError> {
    let rest = backup.strip_prefix(MAGIC).ok_or(OpenError::NoBackup)?;
    let (version, _) = rest.split_first_chunk().ok_or(OpenError::Damaged)?;
    let version = u16::from_le_bytes(*version);
    let (body, crc) = backup
        .split_last_chunk::<CRC_BYTES>()
        .ok_or(OpenError::Damaged)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) || backup.len() > BACKUP_BYTES_MAX {
        return Err(OpenError::Damaged);
    }
    if version != VERSION {
        return Err(OpenError::Newer(version));
    }
    let (header, sealed) = body
        .split_at_checked(HEADER_BYTES)
        .ok_or(OpenError::Damaged)?;
    let parts = Parts::of(header).ok_or(OpenError::Damaged)?;
    if !(1..=ROUNDS_MAX).contains(&parts.rounds) {
        return Err(OpenError::Damaged);
    }
    let keys =
        Keys::of(passphrase, parts.salt, parts.rounds).map_err(|Unspecified| OpenError::Damaged)?;
    verify_slices_are_equal(&keys.check, parts.check)
        .map_err(|Unspecified| OpenError::WrongPassphrase)?;
    let mut contents = sealed.to_vec();
    let nonce = Nonce::assume_unique_for_key(*parts.nonce);
    let opened = keys
        .key
        .open_in_place(nonce, Aad::from(header), &mut contents);
    let bytes = opened.map_err(|Unspecified| OpenError::Forged)?.len();
    contents.truncate(bytes);
    Ok(contents)
}

struct Parts<'a> {
    rounds: u32,
    salt: &'a [u8; SALT_BYTES],
    nonce: &'a [u8; NONCE_LEN],
    check: &'a [u8; CHECK_BYTES],
}

impl<'a> Parts<'a> {
    fn of(header: &'a [u8]) -> Option<Self> {
        let rest = header.get(MAGIC.len() + size_of_val(&VERSION)..)?;
        let (rounds, rest) = rest.split_first_chunk()?;
        let (salt, rest) = rest.split_first_chunk()?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (check, _) = rest.split_first_chunk()?;
        Some(Self {
            rounds: u32::from_le_bytes(*rounds),
            salt,
            nonce,
            check,
        })
    }
}

struct Keys {
    key: LessSafeKey,
    check: [u8; CHECK_BYTES],
}

impl Keys {
    fn of(passphrase: &Secret, salt: &[u8], rounds: u32) -> Result<Self, Unspecified> {
        let rounds = NonZeroU32::new(rounds).ok_or(Unspecified)?;
        let mut secret = [0; 32];
        derive(
            PBKDF2_HMAC_SHA256,
            rounds,
            salt,
            passphrase.0.as_bytes(),
            &mut secret,
        );
        let secret = Prk::new_less_safe(HKDF_SHA256, &secret);
        let key =
            UnboundKey::from(secret.expand(&[b"holdfast backup key".as_slice()], &AES_256_GCM)?);
        let mut check = [0; CHECK_BYTES];
        secret
            .expand(&[b"holdfast backup check".as_slice()], Check)?
            .fill(&mut check)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            check,
        })
    }
}

struct Check;

impl KeyType for Check {
    fn len(&self) -> usize {
        CHECK_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Secret {
        Secret(text.to_owned())
    }

    fn sealed(contents: &[u8]) -> Vec<u8> {
        seal_with(
            contents,
            &passphrase("correct horse battery"),
            10,
            ([7; SALT_BYTES], [9; NONCE_LEN]),
        )
        .unwrap()
    }

    fn with_crc(mut backup: Vec<u8>) -> Vec<u8> {
        let body = backup.len() - CRC_BYTES;
        let crc = crc32fast::hash(&backup[..body]).to_le_bytes();
        backup[body..].copy_from_slice(&crc);
        backup
    }

    #[test]
    fn what_is_sealed_can_be_opened_with_its_passphrase_only() {
        let right = passphrase("correct horse battery");
        let backup = seal(b"cameras", &right).unwrap();
        assert_eq!(open(&backup, &right).unwrap(), b"cameras");
        assert_eq!(
            open(&backup, &passphrase("correct horse batterz")),
            Err(OpenError::WrongPassphrase)
        );
        assert_ne!(
            seal(b"cameras", &right).unwrap()[HEADER_BYTES..],
            backup[HEADER_BYTES..],
            "another salt and nonce"
        );
        assert!(!backup.windows(7).any(|bytes| bytes == b"cameras"));
        assert_eq!(
            u32::from_le_bytes(backup[10..14].try_into().unwrap()),
            600_000
        );
    }

    /// The output of version 1, as another implementation computes it.
    #[test]
    fn the_format_stays_as_it_is() {
        let hex: String = sealed(b"{}")
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let header = "48464241434b5550".to_owned()
            + "0100"
            + "0a000000"
            + &"07".repeat(16)
            + &"09".repeat(12);
        assert!(hex.starts_with(&header), "{hex}");
        assert_eq!(&hex[header.len()..], GOLDEN);
    }

    const GOLDEN: &str =
        "ae5c9428a236fc9e0cc7a712085e414513e7b35ce08cbfea645f40f5d8b9e879e7e09019caff";

    #[test]
    fn damage_forgery_and_other_files_are_distinguished() {
        let right = passphrase("correct horse battery");
        let backup = sealed(b"cameras");
        assert_eq!(open(&backup, &right).unwrap(), b"cameras");
        for at in MAGIC.len()..backup.len() {
            let mut damaged = backup.clone();
            damaged[at] ^= 1;
            assert_eq!(open(&damaged, &right), Err(OpenError::Damaged), "byte {at}");
        }
        for cut in MAGIC.len()..backup.len() {
            assert_eq!(
                open(&backup[..cut], &right),
                Err(OpenError::Damaged),
                "cut at {cut}"
            );
        }
        for cut in 0..MAGIC.len() {
            assert_eq!(
                open(&backup[..cut], &right),
                Err(OpenError::NoBackup),
                "cut at {cut}"
            );
        }
        // By an attacker who can compute a checksum.
        let forged = |at: usize| {
            let mut forged = backup.clone();
            forged[at] ^= 1;
            open(&with_crc(forged), &right).unwrap_err()
        };
        assert_eq!(forged(8), OpenError::Newer(0));
        assert_eq!(
            [forged(10), forged(14), forged(42)],
            [const { OpenError::WrongPassphrase }; 3]
        );
        assert_eq!(
            [forged(30), forged(HEADER_BYTES), forged(backup.len() - 5)],
            [const { OpenError::Forged }; 3]
        );
        // The same attacker, to keep a node busy.
        let mut slow = backup.clone();
        slow[10..14].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(open(&with_crc(slow), &right), Err(OpenError::Damaged));
    }

    #[test]
    fn what_is_too_weak_or_too_large_is_refused() {
        assert_eq!(
            seal(b"", &passphrase("short")),
            Err(SealError::WeakPassphrase(5))
        );
        assert_eq!(
            seal(b"", &passphrase(&"x".repeat(1_025))),
            Err(SealError::WeakPassphrase(1_025))
        );
        let huge = vec![0; BACKUP_BYTES_MAX];
        assert!(matches!(
            seal(&huge, &passphrase("correct horse battery")),
            Err(SealError::TooLarge(_))
        ));
    }
}
