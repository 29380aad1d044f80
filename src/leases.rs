//! What this replica holds of rate limits, and how it comes by it.
