//! The gateway between a server that misbehaves as it is told to and a client that sends any bytes.

mod faults;
mod forwarding;
mod hostile;
mod keys;
mod support;
mod upstream;
