//! The protocol's shapes: frames and messages as borrowed views, and their encoders; no state.
