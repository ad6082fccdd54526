//! Folders, right and wrong ones.
