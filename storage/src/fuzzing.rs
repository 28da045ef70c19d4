//! The fuzz targets' way to what the library keeps to itself. Nothing else may use it.

/// Reads one row of the catalogue as opening and asking it would.
pub fn catalogue_row(key: &[u8], value: &[u8]) {
    crate::catalogue::read_row(key, value);
}
