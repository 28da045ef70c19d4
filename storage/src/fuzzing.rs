//! Access for the fuzz targets to private parts of the crate. Not for any other use.

/// Reads one row of the catalogue as opening it and querying it would.
pub fn catalogue_row(key: &[u8], value: &[u8]) {
    crate::catalogue::read_row(key, value);
}
