//! Windows: a later change.
