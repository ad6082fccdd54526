//! The inspectors: what looks at a context and says what is to be thought of it. No HTTP here.
