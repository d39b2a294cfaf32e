//! Programs to start from: one file each, beside this folder.
