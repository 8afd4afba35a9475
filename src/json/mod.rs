//! The JSON of replies.
